"""An alert that explains itself: evidence, bands, each term's share of the score, and what would not have fired."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.alerts import Decision
from pipeline.core.decimals import four_decimals
from pipeline.core.detect import Assessment, LaneView
from pipeline.core.detector_config import DETECTOR_VERSION, DetectorConfig
from pipeline.core.panes import Content, Pane
from pipeline.core.tails import gamma_quantile
from pipeline.events import Alert, AlertReason, AlertStatus, Band, Evidence, Rule, WindowEvidence
from pipeline.times import HOUR_MS, MINUTE_MS

Z_95 = 1.6449
EVIDENCE = 5
NEGATIVE = 0.5  # from here on a post counts as negative evidence
ENDED = (AlertStatus.RESOLVED, AlertStatus.RETRACTED)


def band_of(mean: float, dispersion: float) -> Band:
    """Return the expected value with its 5 % and 95 % quantiles (gamma approximation of the count's law)."""
    high = max(mean, gamma_quantile(mean, dispersion, Z_95))
    return Band(
        low=four_decimals(gamma_quantile(mean, dispersion, -Z_95)), expected=four_decimals(mean), high=four_decimals(high)
    )


@dataclass(frozen=True, slots=True)
class Sight:
    """What an alert is told from: the moment, the lane that speaks, the panes of its reference window, the counterfactual."""

    entity: str
    moment: Assessment
    view: LaneView
    recent: Sequence[Pane]
    model: str
    model_revision: str
    would_not_fire_below: int | None


def describe(sight: Sight, decision: Decision, config: DetectorConfig) -> Alert:
    """Return the wire record of one step of an alert."""
    incident, moment, view, recent = decision.incident, sight.moment, sight.view, sight.recent
    seen = view.reference
    about_mood = incident.rule is not Rule.COORDINATED_ACTIVITY
    ended = decision.status in ENDED
    score = view.score if about_mood else float(not ended)
    share_tail = view.share_tail if about_mood else 0.0
    return Alert(
        alert_id=incident.alert_id,
        revision=incident.steps - 1,
        status=decision.status,
        rule=incident.rule,
        reason=decision.reason,
        severity=incident.severity,
        entity=sight.entity,
        event_time_ms=moment.end_ms,
        starts_at_ms=incident.starts_at_ms,
        ends_at_ms=incident.hot_ms if ended else None,
        score=four_decimals(score),
        threshold=four_decimals(_threshold(sight, decision)),
        observed=four_decimals(seen.negative),
        band=band_of(view.reference_mean, view.dispersion),
        lift=four_decimals(view.lift),
        negative_share=_share(seen.negative, seen.effective),
        negative_share_before=four_decimals(moment.expected.share),
        share_tail_log10=four_decimals(share_tail),
        share_of_score=four_decimals(min(1.0, config.share_weight * share_tail / max(score, 1e-9))),
        posts=seen.posts,
        posts_effective=float(seen.effective),
        authors=len({author for pane in recent for author in pane.authors}),
        clusters=max(seen.effective, len({content.fingerprint for pane in recent for content in pane.contents})),
        duplicates_removed=seen.posts - seen.effective,
        late_posts=sum(pane.late for pane in recent),
        baseline_age_ms=moment.expected.age_ms,
        cold_start=moment.cold,
        would_not_fire_below=sight.would_not_fire_below,
        windows=_windows(view) if about_mood else (),
        evidence=_evidence(recent, about_mood),
        explanation=_sentence(sight, decision),
        detector_version=DETECTOR_VERSION,
        config_hash=config.config_hash,
        model=sight.model,
        model_revision=sight.model_revision,
    )


def _threshold(sight: Sight, decision: Decision) -> float:
    """Return what the score was held against: a step that fires, the threshold of its moment; all else, that of the opening."""
    fires = decision.status not in ENDED and decision.incident.rule is not Rule.COORDINATED_ACTIVITY
    return sight.moment.threshold if fires else decision.incident.threshold


def _share(part: float, whole: float) -> float:
    return four_decimals(min(1.0, part / whole)) if whole > 0 else 0.0


def _windows(view: LaneView) -> tuple[WindowEvidence, ...]:
    whole = max(view.score, 1e-9)
    return tuple(
        WindowEvidence(
            size_ms=size,
            observed=four_decimals(sums.negative),
            band=band_of(mean, view.dispersion),
            tail_log10=four_decimals(tail),
            share_of_score=four_decimals(min(1.0, tail / len(view.tails) / whole)),
        )
        for size, sums, mean, tail in zip(view.lane.windows_ms, view.sums, view.means, view.tails, strict=True)
    )


def _evidence(recent: Sequence[Pane], about_mood: bool) -> tuple[Evidence, ...]:
    """Return the contents that weigh most: among the negative ones, where there are any, or of a flood what was said most."""
    merged: dict[int, Content] = {}
    for pane in reversed(recent):  # newest first, so the oldest text of a content stands in the end
        for content in pane.contents:
            known = merged.get(content.fingerprint)
            merged[content.fingerprint] = content._replace(times=content.times + (known.times if known else 0))
    chosen = [content for content in merged.values() if content.negative >= NEGATIVE] if about_mood else []
    ranked = sorted(chosen or merged.values(), key=_by_mood if about_mood else _by_times)
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


def _by_mood(content: Content) -> tuple[float, int, str]:
    return -content.times * content.negative, content.event_time_ms, content.event_id


def _by_times(content: Content) -> tuple[float, int, str]:
    return -content.times, content.event_time_ms, content.event_id


_WHY = {
    AlertReason.SCORE_ABOVE_THRESHOLD: "Unusual",
    AlertReason.SEVERITY_ROSE: "Worse than before",
    AlertReason.MORE_NEGATIVE_POSTS: "Still growing",
    AlertReason.MORE_POSTS: "Still growing",
    AlertReason.REOPENED_IN_COOLDOWN: "Unusual again",
    AlertReason.QUIET: "Quiet again",
    AlertReason.FLOOD: "One content drowns out the rest",
}


_COUNTER = {True: "have fired", False: "fire now"}


def _sentence(sight: Sight, decision: Decision) -> str:
    moment, view, entity = sight.moment, sight.view, sight.entity
    seen, span = view.reference, _span(view.lane.reference_ms)
    if decision.incident.rule is Rule.COORDINATED_ACTIVITY:
        return (
            f"{entity}: coordinated activity. {seen.posts} posts within {span}, "
            f"but only {seen.effective} new contents; mood is not judged from these."
        )
    usual = band_of(view.reference_mean, view.dispersion)
    minutes = (moment.end_ms - decision.incident.starts_at_ms) // MINUTE_MS
    fewer, opens = sight.would_not_fire_below, decision.status is AlertStatus.OPENED
    return (
        f"{entity}: {_WHY[decision.reason].lower()}. {seen.negative:.1f} negative posts within {span}, "
        f"{usual.expected:.1f} expected (5 to 95 %: {usual.low:.1f} to {usual.high:.1f}); negative share "
        f"{_share(seen.negative, seen.effective):.0%} against {moment.expected.share:.0%}; "
        f"score {view.score:.1f} against a threshold of {_threshold(sight, decision):.1f}; {minutes} minutes since it began."
        + ("" if fewer is None else f" With fewer than {fewer} negative posts it would not {_COUNTER[opens]}.")
    )


def _span(size_ms: int) -> str:
    return f"{size_ms // HOUR_MS} hours" if size_ms > HOUR_MS else f"{size_ms // MINUTE_MS} minutes"
