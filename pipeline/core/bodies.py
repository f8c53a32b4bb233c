"""What a webhook says, about one alert or about several: small JSON, the same bytes for the same alerts.

``{"type", "timestamp", "data"}``, as Standard Webhooks proposes; ``timestamp`` is the event time in ISO 8601.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from pipeline.contract import Contract
from pipeline.events import Alert, AlertGroup

MAX_BODY_BYTES: Final = 20_000  # Standard Webhooks: a body stays under 20 kB
MAX_BARE_BYTES: Final = 16_000  # of one alert, cut as far as it can be: the rest is for what is around it
MAX_EVIDENCE: Final = 5
TEXT_LIMITS: Final = (500, 200, 80)  # characters kept of each quoted post, tried until the body is small enough


def body(alert: Alert) -> bytes:
    """Return the body about one alert, with at most five quoted posts, each cut as far as needed."""
    for limit in TEXT_LIMITS:
        encoded = _one(_cut(alert, limit))
        if len(encoded) < MAX_BODY_BYTES:
            return encoded
    return _one(_bare(alert))


def group_body(alerts: Sequence[Alert], group: Mapping[str, str]) -> bytes:
    """Return the body about several alerts that share what ``group`` says, by event time, all cut alike as far as needed."""
    ordered = sorted(alerts, key=lambda alert: (alert.event_time_ms, alert.delivery_id))
    for limit in TEXT_LIMITS:
        encoded = _several([_cut(alert, limit) for alert in ordered], group)
        if len(encoded) < MAX_BODY_BYTES:
            return encoded
    return _several([_bare(alert) for alert in ordered], group)


def least_bytes(alert: Alert, group: Mapping[str, str]) -> int:
    """Return the size of a group's body about one alert, cut as far as it can be."""
    return len(_several([_bare(alert)], group))


def more_bytes(alert: Alert) -> int:
    """Return by how much one more alert, cut as far as it can be, makes a group's body longer."""
    return len(_compact(_fields(_bare(alert)))) + 1


def _one(alert: Alert) -> bytes:
    return _message(f"alert.{alert.status}", alert.event_time_ms, alert)


def _several(alerts: Sequence[Alert], group: Mapping[str, str]) -> bytes:
    told = AlertGroup(group=dict(group), alerts=tuple(alerts))
    return _message("alert.group", max(alert.event_time_ms for alert in alerts), told)


def _message(kind: str, event_time_ms: int, data: Contract) -> bytes:
    moment = datetime.fromtimestamp(event_time_ms / 1000, UTC)
    timestamp = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return _compact({"type": kind, "timestamp": timestamp, "data": _fields(data)})


def _fields(data: Contract) -> dict[str, Any]:
    return data.model_dump(mode="json", exclude_none=True)


def _compact(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()


def _cut(alert: Alert, limit: int) -> Alert:
    quoted = tuple(item.model_copy(update={"text": _shorten(item.text, limit)}) for item in alert.evidence[:MAX_EVIDENCE])
    return alert.model_copy(update={"evidence": quoted, "explanation": _shorten(alert.explanation, 2 * limit)})


def _bare(alert: Alert) -> Alert:
    """Return the alert without what it quotes; a market's has as many members as fit, ``exceeding`` says how many there are."""
    bare = _cut(alert, TEXT_LIMITS[-1]).model_copy(update={"evidence": (), "windows": ()})
    while bare.market is not None and bare.market.members and len(_compact(_fields(bare))) > MAX_BARE_BYTES:
        fewer = bare.market.model_copy(update={"members": bare.market.members[:-1]})
        bare = bare.model_copy(update={"market": fewer})
    return bare


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
