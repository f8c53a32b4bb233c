"""What was planted in the synthetic world, against what was found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.events import Alert, AlertStatus, Rule
from pipeline.times import HOUR_MS
from producers.synthetic import Planted

GRACE_MS: Final = HOUR_MS  # an alert may come this long after the end of what it is about
SPIKE: Final = "negative_spike"


@dataclass(frozen=True, slots=True)
class Finding:
    """One planted thing. ``delay_ms``: from its begin to the alert about it, None where there was none.

    ``taken_back_ms``: how long a flood was taken for a change of mood before that alert was retracted; None where it was not.
    """

    planted: Planted
    delay_ms: int | None
    good: bool
    taken_back_ms: int | None = None


def judge(planted: Iterable[Planted], alerts: Sequence[Alert]) -> tuple[Finding, ...]:
    """Say of each planted spike whether it was told, and of each flood whether it was taken for a change of mood."""
    return tuple(_judge(one, alerts) for one in planted)


def _judge(planted: Planted, alerts: Sequence[Alert]) -> Finding:
    told = [a for a in alerts if a.entity == planted.entity and planted.from_ms < a.event_time_ms <= planted.to_ms + GRACE_MS]
    retracted_ms = {a.alert_id: a.event_time_ms for a in alerts if a.status is AlertStatus.RETRACTED}
    moods = [alert for alert in told if alert.rule is not Rule.COORDINATED_ACTIVITY]
    standing = [alert for alert in moods if alert.alert_id not in retracted_ms]
    if planted.kind == SPIKE:
        delay_ms = _delay_ms(planted, standing)
        return Finding(planted, delay_ms, good=delay_ms is not None)
    floods = [alert for alert in told if alert.rule is Rule.COORDINATED_ACTIVITY]
    hasty_ms = [retracted_ms[a.alert_id] - a.event_time_ms for a in moods if a.alert_id in retracted_ms]
    return Finding(planted, _delay_ms(planted, floods), good=not standing, taken_back_ms=max(hasty_ms, default=None))


def _delay_ms(planted: Planted, alerts: Sequence[Alert]) -> int | None:
    first_ms = min((alert.event_time_ms for alert in alerts), default=None)
    return None if first_ms is None else first_ms - planted.from_ms
