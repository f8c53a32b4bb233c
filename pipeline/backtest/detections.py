"""From alert records to detections: one per alert, at the moment it opened, and which incident it tells about."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.backtest.truth import Incident
from pipeline.events import Alert, Rule

OPINION_RULES = frozenset({Rule.NEGATIVE_SPIKE, Rule.NEGATIVE_TREND})
HOUR_MS = 3_600_000
DOMINATED = 0.5
SAME_CONTENT_BITS = 3
FLOOD_COPIES = 3  # fewer copies are no flood, however few posts stand beside them


class Detection(NamedTuple):
    """One alert at its opening. ``peak`` is the highest score it ever had; ``incident`` indexes the truth, -1 for none."""

    alert: Alert
    peak: float
    incident: int = -1

    @property
    def at_ms(self) -> int:
        """Return when it opened, in event time."""
        return self.alert.event_time_ms


def detections(alerts: Iterable[Alert], rules: frozenset[Rule] = OPINION_RULES) -> list[Detection]:
    """Return one detection per alert of these rules, in time order; retracted ones count, for they were sent."""
    first: dict[str, Alert] = {}
    peak: dict[str, float] = {}
    for alert in alerts:
        if alert.rule not in rules:
            continue
        known = first.get(alert.alert_id)
        first[alert.alert_id] = alert if known is None or alert.revision < known.revision else known
        peak[alert.alert_id] = max(peak.get(alert.alert_id, alert.score), alert.score)
    ordered = sorted(first.values(), key=lambda alert: (alert.event_time_ms, alert.entity, alert.alert_id))
    return [Detection(alert, peak[alert.alert_id]) for alert in ordered]


def matched(found: Sequence[Detection], incidents: Sequence[Incident], grace_ms: int) -> list[Detection]:
    """Return the detections with the first incident each falls into, up to ``grace_ms`` after its end; traps never match."""
    targets: dict[str, list[tuple[int, Incident]]] = {}
    for index, incident in enumerate(incidents):
        if not incident.is_trap:
            targets.setdefault(incident.entity, []).append((index, incident))
    return [d._replace(incident=_hit(d, targets.get(d.alert.entity, []), grace_ms)) for d in found]


def _hit(detection: Detection, targets: list[tuple[int, Incident]], grace_ms: int) -> int:
    for index, incident in targets:
        if incident.from_ms <= detection.at_ms < incident.to_ms + grace_ms:
            return index
    return -1


def first_hits(found: Sequence[Detection]) -> dict[int, Detection]:
    """Return the earliest detection of each incident that has one."""
    hits: dict[int, Detection] = {}
    for detection in found:
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
        leader = next((known for known in mass if (known ^ fingerprint).bit_count() <= SAME_CONTENT_BITS), fingerprint)
        mass.setdefault(leader, []).append(negative)
    total = sum(map(sum, mass.values()))
    repeated = [sum(copies) for copies in mass.values() if len(copies) >= FLOOD_COPIES]
    return max(repeated, default=0.0) / total if total > 0 else 0.0
