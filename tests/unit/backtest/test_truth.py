"""Files of truth: what they hold, and how they are refused."""

import gzip
import json
from pathlib import Path

import pytest

from pipeline.backtest.truth import Incident, read_truth, within
from pipeline.errors import ConfigurationError

HOUR_MS = 3_600_000
START_MS = 1_388_534_400_000
END_MS = START_MS + HOUR_MS


def write_truth(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(entity: str = "A", from_ms: object = START_MS, to_ms: object = END_MS, kind: str = "negative_spike") -> dict[str, object]:
    return {"entity": entity, "kind": kind, "from_ms": from_ms, "to_ms": to_ms}


def test_incidents_come_in_time_order(tmp_path: Path) -> None:
    path = write_truth(tmp_path / "t.jsonl", row("B", START_MS + HOUR_MS, START_MS + 2 * HOUR_MS), row("A"))
    assert [incident.entity for incident in read_truth(path, ["A", "B"])] == ["A", "B"]


def test_unknown_entities_are_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    path = write_truth(tmp_path / "t.jsonl", row("ACMEE"), row("A"), row("zzz"))
    with pytest.raises(ConfigurationError, match=r"names 'ACMEE' \(did you mean 'ACME'\?\), 'zzz', which no post names"):
        read_truth(path, ["ACME", "A"])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(to_ms=START_MS), f"to_ms = {START_MS} is not after from_ms = {START_MS}; write when it was over"),
        (row(from_ms=1_612_880_000, to_ms=1_612_890_000), "from_ms = 1612880000 is no such time; write epoch milliseconds"),
        (row(to_ms=START_MS * 1_000), f"to_ms = {START_MS}000 is no such time; write epoch milliseconds"),
        (row(from_ms="now"), "from_ms = 'now' is no such time; write epoch milliseconds"),
        (row(to_ms=10**400), "to_ms = 10{79} is no such time; write epoch milliseconds"),
        ({"entity": "A", "kind": "x", "from_ms": START_MS}, "field 'to_ms' is missing; write epoch milliseconds"),
        ({"entity": "A", "from_ms": START_MS, "to_ms": END_MS}, "field 'kind' is missing; every line needs it"),
        (row() | {"entity": 600519}, "entity = 600519 is no string; put it in quotes"),
        (row(from_ms=True), "from_ms = True is no such time; write epoch milliseconds"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, bad: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"line 2: {message}"):
        read_truth(write_truth(tmp_path / "t.jsonl", row(), bad), ["A"])


def test_a_file_is_read_by_what_it_holds_and_refused_when_cut_off(tmp_path: Path) -> None:
    plain = write_truth(tmp_path / "t.jsonl", *[row(from_ms=START_MS + n) for n in range(100)])
    packed = gzip.compress(plain.read_bytes())
    for name, data in (("packed.jsonl", packed), ("plain.jsonl.gz", plain.read_bytes())):
        (tmp_path / name).write_bytes(data)
        assert read_truth(tmp_path / name, ["A"]) == read_truth(plain, ["A"])
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[:-20])
    with pytest.raises(ConfigurationError, match="cut.jsonl.gz cannot be read"):
        read_truth(tmp_path / "cut.jsonl.gz", ["A"])
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ConfigurationError, match="line 1 is not UTF-8 text"):
        read_truth(tmp_path / "binary.jsonl", ["A"])


@pytest.mark.parametrize(
    ("kind", "is_trap"),
    [
        ("bot_flood", True),
        ("control", True),
        ("volume_spike", True),
        ("negative_spike", False),
        ("x", False),
        ("Bot Flood", True),
        ("VOLUME-spike", True),
        ("quality_control_recall", False),
        ("uncontrolled_fire", False),
        ("", False),
    ],
)
def test_floods_and_controls_are_traps(kind: str, is_trap: bool) -> None:
    assert Incident("A", kind, 0, 1).is_trap is is_trap


def test_a_line_that_stands_twice_is_one_incident(tmp_path: Path) -> None:
    path = write_truth(tmp_path / "t.jsonl", row(), row(to_ms=END_MS + 1), row())
    assert [incident.to_ms for incident in read_truth(path, ["A"])] == [END_MS, END_MS + 1]


def test_within_takes_incidents_that_begin_in_the_span() -> None:
    incidents = [Incident("A", "x", begin, begin + 100) for begin in (0, 5, 9, 10)]
    assert [incident.from_ms for incident in within(incidents, 5, 10)] == [5, 9]
