"""Grouping, decided: which alerts go out together in one webhook, and when.

As in Alertmanager: alerts that are equal in some fields make up a group; the first waits for others, later ones until some
time has passed since. What has just become critical does not wait, and takes along what does.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.core.bodies import MAX_BODY_BYTES, body, group_body, least_bytes, more_bytes
from pipeline.core.delivery import Delivery, Status
from pipeline.events import Alert, AlertStatus, Severity

MAX_ALERTS: Final = 100  # in one webhook, beside the bound on its bytes


@dataclass(frozen=True, slots=True)
class Grouping:
    """What is grouped ``by``, how long the first alert of a group waits, and how far apart the group's webhooks are."""

    by: tuple[str, ...]
    wait_ms: int
    interval_ms: int


def group_of(alert: Alert, by: Sequence[str]) -> str:
    """Return the group of an alert: the JSON of the fields that its alerts share."""
    return json.dumps({name: str(getattr(alert, name)) for name in by}, ensure_ascii=False, separators=(",", ":"))


def flush_ms(last_ms: int | None, now_ms: int, grouping: Grouping) -> int:
    """Return when an alert that comes now is due, given the latest time for which its group was planned."""
    if last_ms is None or now_ms >= last_ms + grouping.interval_ms:
        return now_ms + grouping.wait_ms
    return last_ms if now_ms < last_ms else last_ms + grouping.interval_ms


def is_urgent(alert: Alert) -> bool:
    """Return whether an alert has just become critical."""
    return alert.severity is Severity.CRITICAL and alert.status in (AlertStatus.OPENED, AlertStatus.ESCALATED)


def may_join(leader: Delivery, other: Delivery) -> bool:
    """Return whether two deliveries may go together: what was tried once goes on as it was, under its id."""
    return other.group == leader.group and other.attempts == 0 and other.members is None


def fitting(leader: Delivery, others: Sequence[Delivery]) -> Iterator[Delivery]:
    """Yield those of the others that go into one webhook with the leader, in their order, until it is full."""
    room = MAX_BODY_BYTES - least_bytes(_alert(leader), _shared(leader))
    for other in others[: MAX_ALERTS - 1]:
        room -= more_bytes(_alert(other))
        if room <= 0:
            return
        yield other


def webhook_id(delivery_ids: Sequence[str]) -> str:
    """Return the id under which receivers know the webhook of these deliveries: of one its own, of several their hash."""
    if len(delivery_ids) == 1:
        return delivery_ids[0]
    return "group." + hashlib.sha256("\n".join(sorted(delivery_ids)).encode()).hexdigest()[:32]


def webhook_body(deliveries: Sequence[Delivery]) -> bytes:
    """Return the body of one webhook about one delivery, or about several of one group, the same bytes for the same ones."""
    alerts = [_alert(delivery) for delivery in deliveries]
    return body(alerts[0]) if len(alerts) == 1 else group_body(alerts, _shared(deliveries[0]))


def settled_with(leader: Delivery, members: Sequence[Delivery]) -> list[Delivery]:
    """Return what became of the members of a group whose leader was settled: the same; nothing while it is tried again."""
    if leader.status is Status.PENDING:
        return []
    changed: dict[str, Any] = {"status": leader.status, "attempts": leader.attempts, "last_answer": leader.last_answer}
    if leader.status is Status.DELIVERED:
        changed["value"] = b""
    return [member.model_copy(update=changed) for member in members]


def _alert(delivery: Delivery) -> Alert:
    return Alert.model_validate_json(delivery.value)


def _shared(delivery: Delivery) -> dict[str, str]:
    shared: dict[str, str] = json.loads(delivery.group or "{}")
    return shared
