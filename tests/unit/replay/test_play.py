import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.core.detector_config import DetectorConfig
from pipeline.errors import ConfigurationError
from pipeline.events import Alert, Rule, ScoredPost
from pipeline.replay.play import Tally, paced, play, write, write_summary
from pipeline.replay.recorded import known_ms
from tests.unit.core.streams import DAY_MS, START_MS, eventful, scored_post

CONFIG = DetectorConfig()


def test_writes_trends_alerts_and_a_summary_that_counts_them(tmp_path: Path) -> None:
    posts, tally = eventful(), Tally()
    write(play(posts, CONFIG, tally), tmp_path)
    write_summary(tally.summary(CONFIG), tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    alerts = [Alert.model_validate_json(line) for line in (tmp_path / "alerts.jsonl").read_bytes().splitlines()]
    assert summary["posts"] == len(posts)
    assert summary["trends"] == len((tmp_path / "trends.jsonl").read_bytes().splitlines())
    assert summary["alerts"] == len({alert.alert_id for alert in alerts})
    assert sum(summary["alert_records"].values()) == len(alerts)
    assert {Rule.NEGATIVE_SPIKE, Rule.COORDINATED_ACTIVITY} <= {alert.rule for alert in alerts}


def test_posts_about_nobody_are_counted_as_such_and_nobody_is_no_entity() -> None:
    tally = Tally()
    list(play([scored_post("1", START_MS), scored_post("2", START_MS, entity="")], CONFIG, tally))
    summary = tally.summary(CONFIG)
    assert (summary["posts"], summary["entities"], summary["without_entity"]) == (2, 1, 1)


def test_a_warm_up_teaches_and_says_nothing() -> None:
    from_ms = START_MS + 11 * DAY_MS
    tally = Tally()
    steps = list(play(eventful(), CONFIG, tally, from_ms))
    trends = [trend for step in steps for trend in step.trends]
    assert min(trend.window_start_ms for trend in trends) >= from_ms
    assert any(alert.baseline_age_ms > 10 * DAY_MS for step in steps for alert in step.alerts)
    assert tally.trends == len(trends)
    assert tally.steps.total() == sum(len(step.alerts) for step in steps)


def test_a_run_that_fails_leaves_what_an_earlier_one_wrote(tmp_path: Path) -> None:
    write(play(eventful(), CONFIG, Tally()), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken() -> Iterator[ScoredPost]:
        yield from eventful()[:200]
        raise ConfigurationError("line 201 is not a scored post")

    with pytest.raises(ConfigurationError, match="line 201"):
        write(play(broken(), CONFIG, Tally()), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interrupted_run_leaves_no_half_files(tmp_path: Path) -> None:
    def interrupted() -> Iterator[ScoredPost]:
        yield from eventful()[:200]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(play(interrupted(), CONFIG, Tally()), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_paced_waits_for_the_gap_over_the_speed_and_stops_when_told() -> None:
    posts = [scored_post(str(i), START_MS + i * 6_000) for i in range(4)]
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3

    assert [post.event_id for post in paced(posts, 60.0, wait, lambda post: post.event_time_ms)] == ["0", "1", "2"]
    assert waits == [0.1, 0.1, 0.1]


def test_late_posts_are_paced_by_when_they_came() -> None:
    late = scored_post("late", START_MS).model_copy(update={"available_at_ms": START_MS + 120_000})
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    assert len(list(paced([scored_post("first", START_MS), late], 60.0, wait, known_ms))) == 2
    assert waits == [2.0]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    with pytest.raises(ConfigurationError, match=f"--out {occupied}"):
        write([], occupied)


def test_another_rate_of_false_alerts_is_another_configuration() -> None:
    other = replace(CONFIG, false_alerts_per_entity_day=0.02)
    assert other.config_hash != CONFIG.config_hash
    assert DetectorConfig().config_hash == CONFIG.config_hash
