import gzip
import json
from pathlib import Path

import pytest

from pipeline.demo.inputs import BAD_RECORDS, begun, recorded, synthetic, with_bad_records
from pipeline.errors import ConfigurationError
from pipeline.events import SocialPost
from pipeline.inprocess import Incoming
from producers.mapping import compile_mapping

AT_MS = 1_400_000_000_000


def write(path: Path, *lines: str) -> Path:
    data = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def post_of(incoming: Incoming) -> SocialPost:
    return SocialPost.model_validate_json(incoming.value)


@pytest.mark.parametrize("name", ["posts.jsonl", "posts.jsonl.gz"])
def test_a_single_entity_becomes_entities_and_missing_fields_are_fine(tmp_path: Path, name: str) -> None:
    line = {"event_id": "1", "event_time_ms": AT_MS, "entity": "AAPL", "author_id": "a", "text": "up 涨", "repost": True}
    (incoming,) = recorded(write(tmp_path / name, json.dumps(line)))
    post = post_of(incoming)
    assert (post.entities, post.text, post.language, post.source) == (("AAPL",), "up 涨", None, None)
    assert (incoming.topic, incoming.key, incoming.timestamp_ms) == ("posts", b"1", AT_MS)


def test_social_posts_pass_unchanged(tmp_path: Path) -> None:
    post = SocialPost(event_id="1", event_time_ms=AT_MS, author_id="a", text="x", entities=("A", "B"), language="en")
    (incoming,) = recorded(write(tmp_path / "p.jsonl", post.to_json().decode(), ""))
    assert post_of(incoming) == post


@pytest.mark.parametrize("entity", ["", "  ", None, 7])
def test_an_entity_that_names_nobody_is_left_out(tmp_path: Path, entity: object) -> None:
    line = {"event_id": "1", "event_time_ms": AT_MS, "entity": entity, "author_id": "a", "text": "x"}
    (incoming,) = recorded(write(tmp_path / "p.jsonl", json.dumps(line)))
    assert post_of(incoming).entities == ()


def test_broken_lines_are_fed_at_the_time_of_the_line_before(tmp_path: Path) -> None:
    good = json.dumps({"event_id": "1", "event_time_ms": AT_MS, "author_id": "a", "text": "x"})
    far = json.dumps({"event_id": "2", "event_time_ms": 10**17, "author_id": "a", "text": "x"})
    incoming = list(recorded(write(tmp_path / "p.jsonl", good, '{"event_id": "cut', "[1, 2]", far, '{"text": "\\ud800"}')))
    assert [one.timestamp_ms for one in incoming] == [AT_MS] * 5
    assert incoming[1].value == b'{"event_id": "cut'
    assert incoming[2].value == b"[1, 2]"


def test_a_mapping_names_columns_and_topic(tmp_path: Path) -> None:
    fields = {"user_id": "who", "event_id": "n", "event_time_ms": {"from": "t", "unit": "s"}, "action": {"const": "click"}}
    mapping = compile_mapping({"contract": "behavior", "fields": fields}, "test")
    (incoming,) = recorded(write(tmp_path / "p.jsonl", '{"who": "u9", "n": 5, "t": 1400000000}'), mapping)
    assert (incoming.topic, incoming.key, incoming.timestamp_ms) == ("events", b"u9", AT_MS)
    assert json.loads(incoming.value)["action"] == "click"


def test_a_file_that_cannot_be_read_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        list(recorded(tmp_path / "absent.jsonl"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        list(recorded(tmp_path))
    packed = gzip.compress(b"".join(b'{"a": %d}\n' % n for n in range(500)))
    damaged = tmp_path / "damaged.jsonl.gz"
    for content in (packed[:-12], packed[:300] + b"????" + packed[304:]):
        damaged.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"damaged.jsonl.gz cannot be read"):
            list(recorded(damaged))


@pytest.mark.parametrize("packed", [True, False])
def test_the_content_says_whether_a_file_is_packed_and_not_its_name(tmp_path: Path, packed: bool) -> None:
    line = json.dumps({"event_id": "1", "event_time_ms": AT_MS, "author_id": "a", "text": "x"}).encode()
    path = tmp_path / ("posts.jsonl" if packed else "posts.jsonl.gz")
    path.write_bytes(gzip.compress(line) if packed else line)
    assert [post_of(incoming).text for incoming in recorded(path)] == ["x"]


def test_a_file_is_opened_before_its_records_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.jsonl cannot be read"):
        begun(recorded(tmp_path / "absent.jsonl"))
    line = json.dumps({"event_id": "1", "event_time_ms": AT_MS, "author_id": "a", "text": "x"})
    path = write(tmp_path / "p.jsonl", line, line, line)
    assert list(begun(recorded(path))) == list(recorded(path))


def test_bad_records_stand_between_the_good_ones_once_each() -> None:
    post = SocialPost(event_id="1", event_time_ms=AT_MS, author_id="a", text="x")
    values = [incoming.value for incoming in with_bad_records(map(Incoming.of, [post] * 2_000))]
    assert [values.count(bad) for bad in BAD_RECORDS] == [1] * len(BAD_RECORDS)
    assert len(values) == 2_000 + len(BAD_RECORDS)
    assert values[0] == values[-1] == post.to_json()


@pytest.mark.slow
def test_the_synthetic_world_depends_on_the_seed_alone() -> None:
    first = list(synthetic(3))
    assert first == list(synthetic(3))
    assert first != list(synthetic(4))
    assert {incoming.topic for incoming in first} == {"posts", "events"}
