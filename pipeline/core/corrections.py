"""What to tell when late posts changed a history that was already told."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import attrgetter
from typing import TypeVar

from pipeline.events import Alert, AlertReason, AlertStatus, Rule, Trend

TAKEN_BACK = (AlertReason.CORRECTED_BELOW_THRESHOLD, AlertReason.REPLACED)

Record = TypeVar("Record", Trend, Alert)
Key = TypeVar("Key", bound=Hashable)


def reconcile(told: Sequence[Alert], again: Sequence[Alert], corrections: dict[str, int]) -> list[Alert]:
    """Return the records that turn what was ``told`` into what holds ``again``.

    Both carry the revision of an undisturbed history (0, 1, 2 ... per alert). ``corrections`` holds by how much each alert's
    revisions are ahead of that, and is changed in place: a receiver that ignores lower revisions ends with the truth.
    """
    same = _common_prefix(told, again)
    stale = {alert.alert_id: alert for alert in told[same:]}
    records = [shifted(alert, corrections) for alert in again[same:] if alert.alert_id not in stale]
    for alert_id, last_told in stale.items():
        valid = [alert for alert in again if alert.alert_id == alert_id]
        ahead = last_told.revision + corrections.get(alert_id, 0) + 1
        if valid:
            corrections[alert_id] = max(corrections.get(alert_id, 0), ahead - valid[-1].revision)
            records.append(shifted(valid[-1], corrections))
        else:
            corrections.pop(alert_id, None)  # the newest last: the operator forgets the oldest
            corrections[alert_id] = ahead + 1
            records.append(_retraction(last_told, ahead, _successor(last_told, again)))
    return sorted(records, key=lambda alert: (alert.event_time_ms, alert.alert_id, alert.revision))


def _common_prefix(told: Sequence[Alert], again: Sequence[Alert]) -> int:
    for at, (before, now) in enumerate(zip(told, again, strict=False)):
        if before != now:
            return at
    return min(len(told), len(again))


def shifted(alert: Alert, corrections: dict[str, int]) -> Alert:
    """Return the alert of an undisturbed history as it is told: its revision ahead by what corrections used up."""
    ahead = corrections.get(alert.alert_id, 0)
    return alert if ahead == 0 else alert.model_copy(update={"revision": alert.revision + ahead})


def _successor(gone: Alert, again: Sequence[Alert]) -> Alert | None:
    """Return the alert that tells the same in place of one that is gone; of several the one that began nearest to it."""
    floods = gone.rule is Rule.COORDINATED_ACTIVITY
    alike = [alert for alert in again if (alert.rule is Rule.COORDINATED_ACTIVITY) == floods]
    last = {alert.alert_id: alert for alert in alike if alert.reason is not AlertReason.FLOOD}
    began = [alert for alert in last.values() if alert.starts_at_ms <= gone.event_time_ms]
    living = [alert for alert in began if alert.ends_at_ms is None or alert.ends_at_ms >= gone.starts_at_ms]
    return min(living, key=lambda alert: abs(alert.starts_at_ms - gone.starts_at_ms), default=None)


def _retraction(last_told: Alert, revision: int, successor: Alert | None) -> Alert:
    if successor is None:
        reason, why = AlertReason.CORRECTED_BELOW_THRESHOLD, "late posts showed that nothing unusual happened"
    else:
        reason, why = AlertReason.REPLACED, f"late posts moved its beginning; it goes on as alert {successor.alert_id}"
    changes = {
        "revision": revision,
        "status": AlertStatus.RETRACTED,
        "reason": reason,
        "ends_at_ms": last_told.event_time_ms,
        "explanation": f"{last_told.entity}: {why}.",
    }
    return last_told.model_copy(update=changes)


def latest(records: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, Record]:
    """Return the record of each key that has the highest revision; of equal ones, which say the same, the first."""
    last: dict[Key, Record] = {}
    for record in records:
        known = last.get(key(record))
        if known is None or record.revision > known.revision:
            last[key(record)] = record
    return last


def pane_of(trend: Trend) -> tuple[str, int]:
    """Return what a trend and its corrections are about: the entity, and when the pane starts."""
    return trend.entity, trend.window_start_ms


def settled_trends(records: Iterable[Trend]) -> dict[tuple[str, int], Trend]:
    """Return the last record of each entity and pane with its revision set to 0."""
    return {key: record.model_copy(update={"revision": 0}) for key, record in latest(records, pane_of).items()}


def settled_alerts(records: Iterable[Alert]) -> dict[str, Alert]:
    """Return the last record of each alert with its revision set to 0, without those that late posts took back.

    Two hosts, two orders within the allowed lateness and two watermark cadences give equal results here.
    """
    return {
        alert_id: record.model_copy(update={"revision": 0})
        for alert_id, record in latest(records, attrgetter("alert_id")).items()
        if record.reason not in TAKEN_BACK
    }
