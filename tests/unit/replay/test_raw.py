import json
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from pipeline.replay.raw import Scoring, read_posts, read_raw
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


def test_an_edited_file_is_scored_again(tmp_path: Path) -> None:
    made: list[Encoder] = []
    list(read_posts(raw_file(tmp_path), scoring(tmp_path, made)))
    list(read_posts(raw_file(tmp_path, ROWS[:3]), scoring(tmp_path, made)))
    assert len(made) == 2


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
