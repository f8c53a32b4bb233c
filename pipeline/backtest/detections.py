"""From alert records to detections: one per alert, at the moment it opened, and which incidents it tells about."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.backtest.truth import Incident
from pipeline.core.alerts import MOODS
from pipeline.core.clusters import MAX_DISTANCE
from pipeline.events import Alert, AlertStatus, Rule

DOMINATED = 0.5
FLOOD_COPIES = 3  # fewer copies are no flood, however few posts stand beside them


class Hit(NamedTuple):
    """An incident, by its index, and the first announcement of an alert that fell into it."""

    incident: int
    at_ms: int


class Detection(NamedTuple):
    """One alert at its opening. ``escalated_ms``: when it was announced again because it got worse.

    ``hits``: every incident it tells about, for incidents may overlap, and an alert may stay open from one to the next.
    """

    alert: Alert
    peak: float
    escalated_ms: tuple[int, ...] = ()
    hits: tuple[Hit, ...] = ()

    @property
    def at_ms(self) -> int:
        """Return when it opened, in event time."""
        return self.alert.event_time_ms


def detections(alerts: Iterable[Alert], rules: frozenset[Rule] = MOODS) -> list[Detection]:
    """Return one detection per alert of these rules, in time order; retracted ones count, for they were sent."""
    records: dict[str, list[Alert]] = {}
    for alert in alerts:
        if alert.rule in rules:
            records.setdefault(alert.alert_id, []).append(alert)
    found = [_detection(own) for own in records.values()]
    return sorted(found, key=lambda detection: (detection.at_ms, detection.alert.entity, detection.alert.alert_id))


def _detection(records: Sequence[Alert]) -> Detection:
    opening = min(records, key=lambda alert: alert.revision)
    escalated = sorted(alert.event_time_ms for alert in records if alert.status is AlertStatus.ESCALATED)
    return Detection(opening, max(alert.score for alert in records), tuple(escalated))


def matched(found: Sequence[Detection], incidents: Sequence[Incident], grace_ms: int) -> list[Detection]:
    """Return the detections with the incidents each tells about: it opened or escalated during them, or up to ``grace_ms`` after.

    Traps never match.
    """
    targets: dict[str, list[tuple[int, Incident]]] = {}
    for index, incident in enumerate(incidents):
        if not incident.is_trap:
            targets.setdefault(incident.entity, []).append((index, incident))
    return [_with_hits(d, targets.get(d.alert.entity, []), grace_ms) for d in found]


def _with_hits(detection: Detection, targets: list[tuple[int, Incident]], grace_ms: int) -> Detection:
    hits: dict[int, int] = {}
    for at_ms in (detection.at_ms, *detection.escalated_ms):
        for index, incident in targets:
            if incident.from_ms <= at_ms < incident.to_ms + grace_ms:
                hits.setdefault(index, at_ms)
    return detection._replace(hits=tuple(Hit(*hit) for hit in hits.items()))


def first_hits(found: Iterable[Detection]) -> dict[int, int]:
    """Return when each incident was first announced, in milliseconds by index; in the order of these times."""
    first: dict[int, int] = {}
    for hit in sorted((hit for detection in found for hit in detection.hits), key=lambda hit: hit.at_ms):
        first.setdefault(hit.incident, hit.at_ms)
    return first


def dominant_share(contents: Sequence[tuple[int, float]]) -> float:
    """Return the share of the negative mass that one repeated content holds; ``contents``: (fingerprint, negative) by post.

    Posts within three bits of a cluster's first post are of that cluster; nothing is collapsed, every copy counts. Contents
    said fewer than three times do not dominate anything.
    """
    mass: dict[int, list[float]] = {}
    for fingerprint, negative in contents:
        leader = next((known for known in mass if (known ^ fingerprint).bit_count() <= MAX_DISTANCE), fingerprint)
        mass.setdefault(leader, []).append(negative)
    total = sum(map(sum, mass.values()))
    repeated = [sum(copies) for copies in mass.values() if len(copies) >= FLOOD_COPIES]
    return max(repeated, default=0.0) / total if total > 0 else 0.0
