"""What to tell when late posts changed a history that was already told."""

from collections.abc import Sequence

from pipeline.events import Alert, AlertReason, AlertStatus, Rule, Trend

TAKEN_BACK = (AlertReason.CORRECTED_BELOW_THRESHOLD, AlertReason.REPLACED)


def reconcile(told: Sequence[Alert], again: Sequence[Alert], corrections: dict[str, int]) -> list[Alert]:
    """Return the records that turn what was ``told`` into what holds ``again``.

    Both carry the revision of an undisturbed history (0, 1, 2 ... per alert). ``corrections`` holds by how much each alert's
    revisions are ahead of that, and is changed in place: a receiver that ignores lower revisions ends with the truth.
    """
    same = _common_prefix(told, again)
    stale = {alert.alert_id: alert for alert in told[same:]}
    records = [_shifted(alert, corrections) for alert in again[same:] if alert.alert_id not in stale]
    for alert_id, last_told in stale.items():
        valid = [alert for alert in again if alert.alert_id == alert_id]
        ahead = last_told.revision + corrections.get(alert_id, 0) + 1
        if valid:
            corrections[alert_id] = max(corrections.get(alert_id, 0), ahead - valid[-1].revision)
            records.append(_shifted(valid[-1], corrections))
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


def _shifted(alert: Alert, corrections: dict[str, int]) -> Alert:
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


def settled_trends(records: Sequence[Trend]) -> dict[tuple[str, int], Trend]:
    """Return the last record of each entity and pane with its revision set to 0."""
    last: dict[tuple[str, int], Trend] = {}
    for record in records:
        known = last.get((record.entity, record.window_start_ms))
        if known is None or record.revision > known.revision:
            last[record.entity, record.window_start_ms] = record
    return {key: record.model_copy(update={"revision": 0}) for key, record in last.items()}


def settled_alerts(records: Sequence[Alert]) -> dict[str, Alert]:
    """Return the last record of each alert with its revision set to 0, without those that late posts took back.

    Two hosts, two orders within the allowed lateness and two watermark cadences give equal results here.
    """
    last: dict[str, Alert] = {}
    for record in records:
        known = last.get(record.alert_id)
        if known is None or record.revision > known.revision:
            last[record.alert_id] = record
    return {
        alert_id: record.model_copy(update={"revision": 0})
        for alert_id, record in last.items()
        if record.reason not in TAKEN_BACK
    }
