"""What was planted in the synthetic world, against what was found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.events import Alert, Rule
from producers.synthetic import Planted

GRACE_MS: Final = 3_600_000  # an alert may come this long after the end of what it is about
SPIKE: Final = "negative_spike"


@dataclass(frozen=True, slots=True)
class Finding:
    """One planted thing. ``delay_ms``: from its begin to the alert about it, None where there was none."""

    planted: Planted
    delay_ms: int | None
    good: bool


def judge(planted: Iterable[Planted], alerts: Sequence[Alert]) -> tuple[Finding, ...]:
    """Say of each planted spike whether it was told, and of each flood whether it was taken for a change of mood."""
    return tuple(_judge(one, alerts) for one in planted)


def _judge(planted: Planted, alerts: Sequence[Alert]) -> Finding:
    wanted = Rule.NEGATIVE_SPIKE if planted.kind == SPIKE else Rule.COORDINATED_ACTIVITY
    told = [a for a in alerts if a.entity == planted.entity and planted.from_ms < a.event_time_ms <= planted.to_ms + GRACE_MS]
    first = min((alert.event_time_ms for alert in told if alert.rule is wanted), default=None)
    delay_ms = None if first is None else first - planted.from_ms
    mistaken = any(alert.rule is Rule.NEGATIVE_SPIKE for alert in told)
    return Finding(planted, delay_ms, good=delay_ms is not None if planted.kind == SPIKE else not mistaken)
