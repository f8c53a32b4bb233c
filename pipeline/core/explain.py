"""An alert that explains itself: evidence, bands, each term's share of the score, and what would not have fired."""

from collections.abc import Sequence

from pipeline.core.alerts import Decision
from pipeline.core.detect import Assessment, count_authors, without_negatives
from pipeline.core.detector_config import DETECTOR_VERSION, MINUTE_MS, DetectorConfig
from pipeline.core.tails import gamma_quantile
from pipeline.core.windows import Content, Pane, panes_within
from pipeline.events import Alert, AlertReason, AlertStatus, Band, Evidence, Rule, WindowEvidence

Z_95 = 1.6449
EVIDENCE = 5
_ENDED = (AlertStatus.RESOLVED, AlertStatus.RETRACTED)


def band_of(mean: float, dispersion: float) -> Band:
    """Return the expected value with its 5 % and 95 % quantiles (gamma approximation of the count's law)."""
    high = max(mean, gamma_quantile(mean, dispersion, Z_95))
    return Band(low=_r(gamma_quantile(mean, dispersion, -Z_95)), expected=_r(mean), high=_r(high))


def describe(entity: str, decision: Decision, moment: Assessment, panes: Sequence[Pane], config: DetectorConfig) -> Alert:
    """Return the wire record of one step of an alert."""
    incident, hour_ms = decision.incident, config.windows_ms[1]
    recent = panes_within(panes, moment.end_ms, hour_ms)
    flood = incident.rule is Rule.COORDINATED_ACTIVITY
    return Alert(
        alert_id=incident.alert_id,
        revision=incident.steps - 1,
        status=decision.status,
        rule=incident.rule,
        reason=decision.reason,
        severity=incident.severity,
        entity=entity,
        event_time_ms=moment.end_ms,
        starts_at_ms=incident.starts_at_ms,
        ends_at_ms=incident.hot_ms if decision.status in _ENDED else None,
        score=_r(moment.score),
        threshold=_r(incident.threshold),
        observed=_r(moment.hour.negative),
        band=band_of(moment.means[1], moment.dispersion),
        lift=_r(moment.lift),
        negative_share=_share(moment.hour.negative, moment.hour.effective),
        negative_share_before=_r(moment.expected.share),
        posts=moment.hour.posts,
        posts_effective=_r(moment.hour.effective),
        authors=count_authors(panes, moment.end_ms, hour_ms),
        clusters=len({content.fingerprint for pane in recent for content in pane.contents}),
        duplicates_removed=max(0, moment.hour.posts - round(moment.hour.effective)),
        late_posts=sum(pane.late for pane in recent),
        baseline_age_ms=moment.expected.age_ms,
        cold_start=moment.cold,
        would_not_fire_below=None if flood else _counterfactual(moment, config),
        windows=_windows(moment, config),
        evidence=_evidence(recent),
        explanation=_sentence(entity, decision, moment),
        detector_version=DETECTOR_VERSION,
        config_hash=config.config_hash,
        model=panes[-1].model if panes else "",
        model_revision=panes[-1].model_revision if panes else "",
    )


def _r(value: float) -> float:
    return round(value, 4)


def _share(part: float, whole: float) -> float:
    return _r(min(1.0, part / whole)) if whole > 0 else 0.0


def _windows(moment: Assessment, config: DetectorConfig) -> tuple[WindowEvidence, ...]:
    whole = max(moment.score, 1e-9)
    return tuple(
        WindowEvidence(
            size_ms=size,
            observed=_r(sums.negative),
            band=band_of(mean, moment.dispersion),
            tail_log10=_r(tail),
            share_of_score=_r(min(1.0, tail / len(moment.tails) / whole)),
        )
        for size, sums, mean, tail in zip(config.windows_ms, moment.sums, moment.means, moment.tails, strict=True)
    )


def _evidence(recent: Sequence[Pane]) -> tuple[Evidence, ...]:
    merged: dict[int, Content] = {}
    for pane in recent:  # newest first, so the oldest text of a content stands in the end
        for content in pane.contents:
            known = merged.get(content.fingerprint)
            merged[content.fingerprint] = content._replace(times=content.times + (known.times if known else 0))
    ranked = sorted(merged.values(), key=lambda c: (c.negative < 0.5, -c.times * c.negative, c.event_time_ms, c.event_id))
    return tuple(
        Evidence(
            event_id=c.event_id,
            text=c.text,
            author_id=c.author_id,
            event_time_ms=c.event_time_ms,
            negative=c.negative,
            count=c.times,
            url=c.url or None,
        )
        for c in ranked[:EVIDENCE]
    )


def _counterfactual(moment: Assessment, config: DetectorConfig) -> int | None:
    """Return the least number of negative posts in the hour with which the rule would still have fired."""
    most = int(moment.hour.negative)
    if moment.score < moment.threshold:
        return None
    need = max(config.support.negative_mass, config.support.lift * moment.means[1])
    for fewer in range(most, 0, -1):
        removed = moment.hour.negative - (fewer - 1)
        if fewer - 1 < need or without_negatives(moment, removed, config) < moment.threshold:
            return fewer
    return 1


_WHY = {
    AlertReason.SCORE_ABOVE_THRESHOLD: "Unusual",
    AlertReason.SEVERITY_ROSE: "Worse than before",
    AlertReason.MORE_NEGATIVE_POSTS: "Still growing",
    AlertReason.REOPENED_IN_COOLDOWN: "Unusual again",
    AlertReason.QUIET: "Quiet again",
    AlertReason.CORRECTED_BELOW_THRESHOLD: "Corrected",
    AlertReason.FLOOD: "One content drowns out the rest",
}


def _sentence(entity: str, decision: Decision, moment: Assessment) -> str:
    if decision.incident.rule is Rule.COORDINATED_ACTIVITY:
        return (
            f"{entity}: coordinated activity. {moment.hour.posts} posts within 60 minutes, "
            f"but only {moment.hour.effective:.0f} new contents; mood is not judged from these."
        )
    expected = band_of(moment.means[1], moment.dispersion)
    minutes = (moment.end_ms - decision.incident.starts_at_ms) // MINUTE_MS
    return (
        f"{entity}: {_WHY[decision.reason].lower()}. {moment.hour.negative:.1f} negative posts within 60 minutes, "
        f"{expected.expected:.1f} expected (5 to 95 %: {expected.low:.1f} to {expected.high:.1f}); negative share "
        f"{_share(moment.hour.negative, moment.hour.effective):.0%} against {moment.expected.share:.0%}; "
        f"score {moment.score:.1f} against a threshold of {moment.threshold:.1f}; {minutes} minutes since it began."
    )
