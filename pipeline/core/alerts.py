"""The life of an alert in event time: opened, updated, escalated, resolved, retracted; with hysteresis and a cooldown.

One function decides the next step of one rule from one moment. After the end a rule that fires again within the cooldown
continues the same incident; so an incident is announced once a day at most, unless it gets worse.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple

from pipeline.core.detector_config import DETECTOR_VERSION, DetectorConfig
from pipeline.events import AlertReason, AlertStatus, Rule, Severity

MOODS = frozenset({Rule.NEGATIVE_SPIKE, Rule.NEGATIVE_TREND})  # the rules about what people feel of one entity
SEVERITIES = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)


@dataclass(frozen=True, slots=True)
class Incident:
    """The latest incident of one rule. ``hot_ms`` is the last moment that still looked unusual."""

    alert_id: str
    rule: Rule
    starts_at_ms: int
    opened_ms: int
    hot_ms: int
    threshold: float
    severity: Severity
    announced_mass: float
    steps: int
    is_open: bool


class Moment(NamedTuple):
    """What a rule sees when a pane closes. ``active``: posts arrived in it; only then may an incident begin."""

    rule: Rule
    entity: str
    end_ms: int
    starts_at_ms: int
    score: float
    threshold: float
    mass: float
    severity: Severity
    fires: bool
    vetoed: bool
    active: bool


class Decision(NamedTuple):
    """A step to tell: why, and the incident after it."""

    status: AlertStatus
    reason: AlertReason
    incident: Incident


def make_alert_id(config_hash: str, entity: str, rule: Rule, first_pane_ms: int) -> str:
    """Return the deterministic id of an incident."""
    return hashlib.sha256(f"{DETECTOR_VERSION}|{config_hash}|{entity}|{rule}|{first_pane_ms}".encode()).hexdigest()


def advance(incident: Incident | None, moment: Moment, config: DetectorConfig) -> tuple[Incident | None, Decision | None]:
    """Return the incident after this moment, and the step to tell if there is one."""
    if incident is not None and incident.is_open:
        if moment.score >= config.lifecycle.stay_open_factor * incident.threshold:
            incident = replace(incident, hot_ms=moment.end_ms)
        decision = _while_open(incident, moment, config)
    elif moment.fires and moment.active and not moment.vetoed:
        decision = _begin(incident, moment, config)
    else:
        decision = None
    return incident if decision is None else decision.incident, decision


def continues(incident: Incident, end_ms: int, config: DetectorConfig) -> bool:
    """Return whether what fires now belongs to this incident: it is open, or began less than a cooldown ago."""
    return incident.is_open or end_ms - incident.opened_ms < config.lifecycle.cooldown_ms


def _begin(previous: Incident | None, moment: Moment, config: DetectorConfig) -> Decision:
    if previous is None or not continues(previous, moment.end_ms, config):
        return Decision(AlertStatus.OPENED, AlertReason.SCORE_ABOVE_THRESHOLD, _new_incident(moment, config))
    worse = _rank(moment.severity) > _rank(previous.severity)
    again = replace(
        previous,
        hot_ms=moment.end_ms,
        severity=moment.severity if worse else previous.severity,
        announced_mass=max(moment.mass, previous.announced_mass),
        steps=previous.steps + 1,
        is_open=True,
    )
    return Decision(AlertStatus.ESCALATED if worse else AlertStatus.UPDATED, AlertReason.REOPENED_IN_COOLDOWN, again)


def _new_incident(moment: Moment, config: DetectorConfig) -> Incident:
    return Incident(
        alert_id=make_alert_id(config.config_hash, moment.entity, moment.rule, moment.starts_at_ms),
        rule=moment.rule,
        starts_at_ms=moment.starts_at_ms,
        opened_ms=moment.end_ms,
        hot_ms=moment.end_ms,
        threshold=moment.threshold,
        severity=moment.severity,
        announced_mass=moment.mass,
        steps=1,
        is_open=True,
    )


def _while_open(incident: Incident, moment: Moment, config: DetectorConfig) -> Decision | None:
    told = incident.steps + 1
    if moment.vetoed:
        return Decision(AlertStatus.RETRACTED, AlertReason.FLOOD, replace(incident, is_open=False, steps=told))
    if moment.end_ms - incident.hot_ms >= config.lifecycle.keep_open_ms:
        return Decision(AlertStatus.RESOLVED, AlertReason.QUIET, replace(incident, is_open=False, steps=told))
    if moment.fires and _rank(moment.severity) > _rank(incident.severity):
        worse = replace(incident, severity=moment.severity, announced_mass=moment.mass, steps=told)
        return Decision(AlertStatus.ESCALATED, AlertReason.SEVERITY_ROSE, worse)
    if moment.fires and moment.mass >= config.lifecycle.update_factor * incident.announced_mass:
        more = replace(incident, announced_mass=moment.mass, steps=told)
        flood = incident.rule is Rule.COORDINATED_ACTIVITY
        return Decision(AlertStatus.UPDATED, AlertReason.MORE_POSTS if flood else AlertReason.MORE_NEGATIVE_POSTS, more)
    return None


def _rank(severity: Severity) -> int:
    return SEVERITIES.index(severity)
