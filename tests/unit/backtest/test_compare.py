"""Two runs side by side."""

from pathlib import Path

import pytest

from pipeline.backtest.compare import compare, read_alerts
from pipeline.errors import ConfigurationError
from pipeline.events import Rule
from tests.unit.backtest.alarms import HOUR_MS, alert
from tests.unit.core.streams import START_MS


def test_gained_lost_moved_and_same() -> None:
    before = [alert("1", "A", START_MS), alert("2", "A", START_MS + 100 * HOUR_MS), alert("3", "B", START_MS)]
    after = [alert("9", "A", START_MS), alert("8", "A", START_MS + 101 * HOUR_MS), alert("7", "C", START_MS)]
    found = compare(before, after)
    assert found.same == 1
    assert [detection.alert.entity for detection in found.gained] == ["C"]
    assert [detection.alert.entity for detection in found.lost] == ["B"]
    assert [entry["moved_min"] for entry in found.summary()["moved"]] == [60.0]


def test_each_alert_is_paired_once_with_its_nearest() -> None:
    before = [alert("1", "A", START_MS)]
    after = [alert("2", "A", START_MS + HOUR_MS), alert("3", "A", START_MS + 2 * HOUR_MS)]
    found = compare(before, after)
    assert len(found.moved) == 1
    assert found.moved[0][1].at_ms == START_MS + HOUR_MS
    assert [detection.at_ms for detection in found.gained] == [START_MS + 2 * HOUR_MS]


def test_another_rule_or_another_day_is_another_incident() -> None:
    before = [alert("1", "A", START_MS)]
    assert len(compare(before, [alert("2", "A", START_MS, rule=Rule.NEGATIVE_TREND)]).gained) == 1
    assert len(compare(before, [alert("2", "A", START_MS + 24 * HOUR_MS)]).gained) == 1


def test_runs_are_read_from_folders_or_files_and_bad_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(alert("1", "A", START_MS).to_json() + b"\n")
    assert read_alerts(tmp_path) == read_alerts(path) == [alert("1", "A", START_MS)]
    path.write_text('{"alert_id": "x"}\n')
    with pytest.raises(ConfigurationError, match=r"line 1 is not an alert: \w+: Field required; give the folder of a run"):
        read_alerts(tmp_path)
    with pytest.raises(ConfigurationError, match="absent cannot be read"):
        read_alerts(tmp_path / "absent")
