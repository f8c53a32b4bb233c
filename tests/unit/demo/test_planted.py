from typing import Any

import pytest

from pipeline.demo.planted import GRACE_MS, Finding, judge
from pipeline.events import Alert, AlertStatus, Rule
from producers.synthetic import Planted
from tests.alerts import START_MS, make_alert

MINUTE_MS = 60_000
SPIKE = Planted("ACME", "negative_spike", START_MS, START_MS + 60 * MINUTE_MS)
FLOOD = Planted("ACME", "bot_flood", START_MS, START_MS + 15 * MINUTE_MS)


def step(minutes: int, alert_id: str = "a1", revision: int = 0, **changes: Any) -> Alert:
    return make_alert(alert_id, revision, event_time_ms=START_MS + minutes * MINUTE_MS, **changes)


def judged(planted: Planted, *alerts: Alert) -> Finding:
    (finding,) = judge([planted], alerts)
    return finding


@pytest.mark.parametrize("rule", [Rule.NEGATIVE_SPIKE, Rule.NEGATIVE_TREND])
def test_a_spike_is_found_by_whichever_rule_about_mood_speaks_first(rule: Rule) -> None:
    assert judged(SPIKE, step(11, rule=rule), step(16, revision=1)) == Finding(SPIKE, 11 * MINUTE_MS, good=True)


def test_a_spike_is_not_found_by_what_came_too_late_was_elsewhere_or_was_taken_back() -> None:
    late = step(61 + GRACE_MS // MINUTE_MS, "late")
    taken_back = (step(10, "b"), step(15, "b", 1, status=AlertStatus.RETRACTED))
    flood = step(10, "f", rule=Rule.COORDINATED_ACTIVITY)
    assert judged(SPIKE, late, step(10, entity="ODD"), *taken_back, flood) == Finding(SPIKE, None, good=False)


def test_a_flood_is_told_as_what_it_is_or_not_at_all() -> None:
    assert judged(FLOOD, step(9, rule=Rule.COORDINATED_ACTIVITY)) == Finding(FLOOD, 9 * MINUTE_MS, good=True)
    assert judged(FLOOD) == Finding(FLOOD, None, good=True)
    assert not judged(FLOOD, step(5, "m"), step(9, rule=Rule.COORDINATED_ACTIVITY)).good


def test_a_flood_that_was_a_mood_for_a_while_is_told_so() -> None:
    mood = (step(5, "m"), step(10, "m", 1, status=AlertStatus.RETRACTED))
    finding = judged(FLOOD, *mood, step(10, rule=Rule.COORDINATED_ACTIVITY))
    assert finding == Finding(FLOOD, 10 * MINUTE_MS, good=True, taken_back_ms=5 * MINUTE_MS)
