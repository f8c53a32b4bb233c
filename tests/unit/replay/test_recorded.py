import gzip
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from pipeline.events import ScoredPost
from pipeline.replay.recorded import arrival, between, is_scored, merged, once_in_order, read_scored, unsorted
from tests.unit.core.streams import HOUR_MS, START_MS, background, scored_post


def write(path: Path, posts: list[ScoredPost]) -> Path:
    data = b"".join(post.to_json() + b"\n" for post in posts)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["posts.jsonl", "posts.jsonl.gz"])
def test_reads_what_was_written(tmp_path: Path, name: str) -> None:
    posts = background("A", 2, 20, 1)
    assert list(read_scored(write(tmp_path / name, posts))) == posts


@pytest.mark.parametrize("packed", [False, True])
def test_a_byte_order_mark_and_foreign_line_ends_are_no_fault_of_a_file(tmp_path: Path, packed: bool) -> None:
    posts = background("A", 1, 10, 1)
    data = b"\xef\xbb\xbf" + b"".join(post.to_json() + b"\r\n" for post in posts)
    path = tmp_path / "posts.jsonl"
    path.write_bytes(gzip.compress(data) if packed else data)
    assert is_scored(path)
    assert list(read_scored(path)) == posts


def test_an_unsorted_file_is_refused_with_the_command_that_sorts_it(tmp_path: Path) -> None:
    posts = background("A", 1, 10, 1)
    path = write(tmp_path / "posts.jsonl", [*posts[1:], posts[0]])
    with pytest.raises(ConfigurationError, match=rf"line {len(posts)}: event_time_ms goes back .*sort_by\(.event_time_ms"):
        list(read_scored(path))


@pytest.mark.parametrize(
    ("name", "mapped", "advice"),
    [
        (
            "my posts.jsonl.gz",
            False,
            "zcat 'my posts.jsonl.gz' | jq -c -s 'sort_by(.event_time_ms, .event_id",
        ),
        ("posts.csv", False, "write its rows in the order of their times"),
        ("posts.jsonl", True, "write its rows in the order of their times"),
    ],
)
def test_how_to_sort_depends_on_the_file(name: str, mapped: bool, advice: str) -> None:
    assert advice in str(unsorted(Path(name), 2, START_MS + 1, START_MS, mapped))


def test_a_line_that_is_no_scored_post_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "posts.jsonl", background("A", 1, 10, 1)[:3])
    path.write_bytes(path.read_bytes() + b'{"event_id": "x", "event_time_ms": 1700000000}\n')
    with pytest.raises(ConfigurationError, match=r"line 4 is not a scored post"):
        list(read_scored(path))


def test_blank_lines_count_and_are_not_what_is_wrong(tmp_path: Path) -> None:
    first, second = (post.to_json() + b"\n" for post in background("A", 1, 10, 1)[:2])
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"\n" + second + b"\n" + first)
    with pytest.raises(ConfigurationError, match="line 4: event_time_ms goes back"):
        list(read_scored(path))
    path.write_bytes(first + b"\n\n{bad}\n")
    with pytest.raises(ConfigurationError, match="line 4 is not a scored post: .*bad"):
        list(read_scored(path))


def test_two_posts_on_a_line_are_refused(tmp_path: Path) -> None:
    first, second = (post.to_json() for post in background("A", 1, 10, 1)[:2])
    path = tmp_path / "posts.jsonl"
    path.write_bytes(first + b"," + second + b"\n")
    with pytest.raises(ConfigurationError, match="line 1 is not a scored post"):
        list(read_scored(path))


def test_tells_scored_files_from_raw_ones(tmp_path: Path) -> None:
    raw = tmp_path / "raw.jsonl"
    raw.write_text('{"event_id": "1", "text": "t"}\n')
    assert is_scored(write(tmp_path / "scored.jsonl", [scored_post("a", START_MS)]))
    assert not is_scored(raw)


def test_several_files_come_as_one_in_event_time_order() -> None:
    one, other = background("A", 2, 20, 1), background("B", 2, 30, 2)
    posts = list(merged([iter(one), iter(other)]))
    assert [post.event_time_ms for post in posts] == sorted(post.event_time_ms for post in one + other)


def test_between_is_exclusive_at_the_end() -> None:
    posts = [scored_post(str(i), START_MS + i) for i in range(5)]
    assert [post.event_id for post in between(posts, START_MS + 1, START_MS + 3)] == ["1", "2"]


def test_arrival_order_goes_by_when_a_post_was_available() -> None:
    late = scored_post("late", START_MS, available_at_ms=START_MS + 1_000)
    posts = [late, scored_post("prompt", START_MS + 10)]
    assert [post.event_id for post in sorted(posts, key=arrival)] == ["prompt", "late"]


def test_posts_said_twice_count_once_and_nameless_ones_not_at_all() -> None:
    first, second = scored_post("1", START_MS + 5), scored_post("2", START_MS)
    assert once_in_order([first, second, first, scored_post("3", START_MS, entity="")]) == [second, first]
    other = scored_post("1", START_MS + 5, entity="B")
    assert len(once_in_order([first, other])) == 2


def test_a_later_version_of_a_post_takes_the_earlier_one_not_away() -> None:
    first = scored_post("1", START_MS)
    later = first.model_copy(update={"event_time_ms": START_MS + HOUR_MS})
    assert once_in_order([later, first]) == [first, later]


def test_of_two_versions_of_one_time_the_same_one_counts_whatever_their_order() -> None:
    mild, harsh = scored_post("1", START_MS, negative=0.1), scored_post("1", START_MS, negative=0.9)
    assert once_in_order([mild, harsh]) == once_in_order([harsh, mild])
