import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.adapters.json_lines import read_lines
from pipeline.contract import LATEST_MS
from pipeline.errors import ConfigurationError
from pipeline.events import DeadLetter
from pipeline.inprocess import turns
from pipeline.replay import raw, scoring_pool
from pipeline.replay.raw import Scoring, read_posts, read_raw
from pipeline.replay.scores import keep_scores
from pipeline.settings import Settings
from tests.unit.core.streams import MINUTE_MS, START_MS
from workers.encoder import Encoder
from workers.fake_encoder import FakeEncoder

ROWS = [
    {
        "event_id": f"r{i}",
        "event_time_ms": START_MS + i * MINUTE_MS,
        "author_id": f"a{i}",
        "entity": "XYZ",
        "text": f"crash number {i}",
    }
    for i in range(6)
]


def raw_file(folder: Path, rows: list[dict[str, object]] | None = None) -> Path:
    path = folder / "raw.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (ROWS if rows is None else rows)))
    return path


def scoring(folder: Path, made: list[Encoder]) -> Scoring:
    def make() -> Encoder:
        made.append(FakeEncoder())
        return made[-1]

    return Scoring(Settings(cache=folder / "cache"), make, "fake")


def test_raw_posts_are_scored_once_and_the_scores_are_kept_beside_the_file(tmp_path: Path) -> None:
    made: list[Encoder] = []
    path = raw_file(tmp_path)
    first = list(read_posts(path, scoring(tmp_path, made)))
    second = list(read_posts(path, scoring(tmp_path, made)))
    assert first == second
    assert len(made) == 1
    assert {post.event_id for post in first if post.entity == "XYZ"} == {row["event_id"] for row in ROWS}
    assert all(post.sentiment.negative > 0.4 for post in first)
    assert [file.name.endswith(".scored.jsonl.gz") for file in sorted(tmp_path.glob("raw.*.gz"))] == [True]


def test_equal_scores_are_equal_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one.gz", tmp_path / "two.gz"
    posts = list(read_posts(raw_file(tmp_path), scoring(tmp_path, [])))
    assert keep_scores(one, posts) == keep_scores(two, posts[::-1]) == len(ROWS)
    assert one.read_bytes() == two.read_bytes()


def test_an_edited_file_is_scored_again(tmp_path: Path) -> None:
    made: list[Encoder] = []
    list(read_posts(raw_file(tmp_path), scoring(tmp_path, made)))
    list(read_posts(raw_file(tmp_path, ROWS[:3]), scoring(tmp_path, made)))
    assert len(made) == 2


@pytest.mark.parametrize("scheme", ["INT8_SCHEME", "CUT_SCHEME"])
def test_other_settings_and_another_way_to_quantise_or_to_cut_never_meet_stale_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    asked = scoring(tmp_path, [])
    shorter = asked.settings.model_copy(update={"encoder": asked.settings.encoder.model_copy(update={"max_tokens": 64})})
    known = {asked.identity, replace(asked, settings=shorter).identity}
    monkeypatch.setattr(raw, scheme, "another")
    assert len(known | {asked.identity}) == 3


def test_a_row_that_is_no_post_is_named_with_its_fix(tmp_path: Path) -> None:
    bad = {**ROWS[1], "event_time_ms": 1_700_000_000}
    with pytest.raises(ConfigurationError, match=r"row 2: event_time_ms = '1700000000'.*multiply seconds.*--map"):
        list(read_raw(raw_file(tmp_path, [ROWS[0], bad]), None))


def test_unsorted_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="line 2: event_time_ms goes back"):
        list(read_raw(raw_file(tmp_path, [ROWS[1], ROWS[0]]), None))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.csv is not a file"):
        read_posts(tmp_path / "nowhere.csv", scoring(tmp_path, []))


@pytest.mark.parametrize(
    ("entity", "expected"), [("A", ["A"]), ([" A", "B"], [" A", "B"]), (" ", None), ("", None), (None, None), (7, None)]
)
def test_an_entity_may_be_a_list(entity: object, expected: object) -> None:
    assert raw.with_entities({"entity": entity}).get("entities") == expected


def test_backtests_see_the_entities_that_the_source_names_under_its_own_names(tmp_path: Path) -> None:
    """The worker links cashtags and renames FB to the dictionary's META; prices and truth know neither."""
    made: list[Encoder] = []
    rows: list[dict[str, object]] = [
        {**ROWS[0], "entity": "FB", "text": "$AMZN crash, says Facebook"},
        {**ROWS[1], "entity": "FB", "text": "fine"},
        {key: value for key, value in ROWS[2].items() if key != "entity"} | {"text": "$GOOG crash"},
    ]
    path = raw_file(tmp_path, rows)
    linked = [(post.event_id, post.entity) for post in read_posts(path, scoring(tmp_path, made))]
    given = [(post.event_id, post.entity) for post in read_posts(path, replace(scoring(tmp_path, made), given=True))]
    assert ("r0", "META") in linked
    assert ("r0", "AMZN") in linked
    assert [pair for pair in given if pair[0] != "r2"] == [("r0", "FB"), ("r1", "FB")]
    assert [pair for pair in given if pair[0] == "r2"] == [pair for pair in linked if pair[0] == "r2"] != []
    assert len(made) == 1


def test_a_recording_is_scored_alike_whatever_day_it_is(tmp_path: Path) -> None:
    """Its times may lie behind today: the worker's clock is the recording's own."""
    rows: list[dict[str, object]] = [{**row, "event_time_ms": LATEST_MS - 100 * MINUTE_MS + i} for i, row in enumerate(ROWS)]
    assert len(list(read_posts(raw_file(tmp_path, rows), scoring(tmp_path, [])))) == len(ROWS)


@pytest.mark.slow
def test_posts_that_cannot_be_scored_are_told_and_a_file_of_them_is_refused(tmp_path: Path) -> None:
    blank: dict[str, object] = {**ROWS[0], "text": "\u200b"}
    for _ in ("scored now", "scores kept"):
        with capture_logs() as logs:
            assert len(list(read_posts(raw_file(tmp_path, [blank, *ROWS[1:]]), scoring(tmp_path, [])))) == len(ROWS) - 1
        assert [(entry["event"], entry["posts"]) for entry in logs] == [("posts_left_out", 1)]
        (letter,) = (DeadLetter.model_validate_json(line) for _, line in read_lines(Path(logs[0]["dead_letters"])))
        assert (letter.topic, letter.field) == ("posts", "text")
        assert json.loads(letter.payload)["event_id"] == blank["event_id"]
    with pytest.raises(ConfigurationError, match="all 1 posts cannot be scored, the first for text"):
        read_posts(raw_file(tmp_path, [blank]), scoring(tmp_path, []))


def test_a_file_refused_at_its_first_row_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = raw_file(tmp_path, [{**ROWS[0], "event_time_ms": "x"}])
    with pytest.raises(ConfigurationError, match="event_time_ms"):
        read_posts(path, scoring(tmp_path, []))
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_scoring_goes_on_where_it_stood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[dict[str, object]] = [{**ROWS[0], "event_id": "blank", "text": "\u200b"}, *ROWS]
    whole = list(read_posts(raw_file(tmp_path, rows), scoring(tmp_path, [])))
    (kept,) = tmp_path.glob("raw.*.gz")
    kept_bytes = kept.read_bytes()
    kept.unlink()
    monkeypatch.setattr(scoring_pool, "turns", partial(turns, size=3))
    with pytest.raises(KeyboardInterrupt):
        read_posts(raw_file(tmp_path, rows), replace(scoring(tmp_path, []), counting=interrupted_after(1)))
    (journal,) = tmp_path.glob("*.journal")
    journal.write_bytes(journal.read_bytes() + b'{"event_id":"cut in the mid')
    told: list[int] = []
    with capture_logs() as logs:
        again = list(
            read_posts(raw_file(tmp_path, rows), replace(scoring(tmp_path, []), counting=lambda: nullcontext(told.append)))
        )
    assert (again, kept.read_bytes()) == (whole, kept_bytes)
    assert told == [3, 3, 1]
    assert [entry["posts"] for entry in logs] == [1]
    assert list(tmp_path.glob("*.journal")) == []


def interrupted_after(turns: int) -> Callable[[], AbstractContextManager[Callable[[int], None]]]:
    told: list[int] = []

    def tell(posts: int) -> None:
        told.append(posts)
        if len(told) > turns:
            raise KeyboardInterrupt

    return lambda: nullcontext(tell)


@pytest.mark.slow
def test_the_number_of_processes_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring_pool, "turns", partial(turns, size=2))
    path, kept = raw_file(tmp_path), []
    for processes in (partial(int, 1), partial(int, 2)):
        list(read_posts(path, replace(scoring(tmp_path, []), make_encoder=FakeEncoder, processes=processes)))
        (scores,) = tmp_path.glob("raw.*.gz")
        kept.append(scores.read_bytes())
        scores.unlink()
    assert kept[0] == kept[1]
