"""From alert records to detections: one per alert, at the moment it opened, and which incident it tells about."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.backtest.truth import Incident
from pipeline.core.alerts import MOODS
from pipeline.core.clusters import MAX_DISTANCE
from pipeline.events import Alert, AlertStatus, Rule

DOMINATED = 0.5
FLOOD_COPIES = 3  # fewer copies are no flood, however few posts stand beside them


class Detection(NamedTuple):
    """One alert at its opening. ``escalated_ms``: when it was announced again because it got worse.

    ``incident`` indexes the truth, -1 for none; ``hit_ms`` is the announcement that fell into it.
    """

    alert: Alert
    peak: float
    escalated_ms: tuple[int, ...] = ()
    incident: int = -1
    hit_ms: int = 0

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
    """Return the detections with the incident each tells about: it opened or escalated during it, or up to ``grace_ms`` after.

    Traps never match.
    """
    targets: dict[str, list[tuple[int, Incident]]] = {}
    for index, incident in enumerate(incidents):
        if not incident.is_trap:
            targets.setdefault(incident.entity, []).append((index, incident))
    return [_with_hit(d, targets.get(d.alert.entity, []), grace_ms) for d in found]


def _with_hit(detection: Detection, targets: list[tuple[int, Incident]], grace_ms: int) -> Detection:
    for at_ms in (detection.at_ms, *detection.escalated_ms):
        for index, incident in targets:
            if incident.from_ms <= at_ms < incident.to_ms + grace_ms:
                return detection._replace(incident=index, hit_ms=at_ms)
    return detection


def first_hits(found: Sequence[Detection]) -> dict[int, Detection]:
    """Return the detection of each incident that was announced first."""
    hits: dict[int, Detection] = {}
    for detection in sorted(found, key=lambda detection: detection.hit_ms):
        if detection.incident >= 0:
            hits.setdefault(detection.incident, detection)
    return hits


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
