"""From an assessed moment to words: what each rule sees, what the alert says, and the trend of the pane."""

from collections.abc import Iterator

from pipeline.core.alerts import Decision, Moment, advance, continues
from pipeline.core.counterfactual import would_not_fire_below
from pipeline.core.decimals import four_decimals
from pipeline.core.detect import Assessment, LaneView, flood_view, is_flood, is_one_voice, view_of
from pipeline.core.detector_config import DETECTOR_VERSION, DetectorConfig
from pipeline.core.entity_state import EntityState
from pipeline.core.explain import ENDED, Sight, band_of, describe
from pipeline.core.panes import Pane
from pipeline.core.severity import severity_of
from pipeline.core.trends import PANE_MS
from pipeline.events import Alert, Rule, Severity, Trend
from pipeline.times import DAY_MS


def decide(state: EntityState, seen: Assessment, active: bool, config: DetectorConfig) -> Iterator[Alert]:
    """Advance both incidents, mood and coordinated activity, which vetoes mood; yield what is to be told.

    ``active``: posts arrived in the pane that ends now; only then may an incident begin.
    """
    decided, view = state.decided, seen.leading
    flooded = is_flood(state.history, seen.end_ms, config.flood)
    if flooded or decided.flood is not None:
        decided.flood, told = advance(decided.flood, _flood_moment(state, seen, active, flooded, config), config)
        if told is not None:
            yield _record(state, told, seen, config)
    if view is not None:
        moment = _mood_moment(state, seen, view, config)._replace(vetoed=flooded, active=active)
        begins = moment.fires and active and (decided.opinion is None or not decided.opinion.is_open)
        if begins and is_one_voice(state.history, seen.end_ms, view.lane, config.flood):
            moment = moment._replace(active=False)
        decided.opinion, told = advance(decided.opinion, moment, config)
        if told is not None:
            yield _record(state, told, seen, config)


def _mood_moment(state: EntityState, seen: Assessment, view: LaneView, config: DetectorConfig) -> Moment:
    return Moment(
        rule=view.lane.rule,
        entity=state.entity,
        end_ms=seen.end_ms,
        starts_at_ms=seen.end_ms - PANE_MS,
        score=view.score,
        threshold=seen.threshold,
        mass=_mass(state, seen, view, config),
        severity=severity_of(seen, view, config),
        fires=seen.score >= seen.threshold,
        vetoed=False,
        active=True,
    )


def _mass(state: EntityState, seen: Assessment, view: LaneView, config: DetectorConfig) -> float:
    """Return the negatives that say whether an incident grows: in its own lane's window, whichever lane speaks now."""
    incident = state.decided.opinion
    if incident is None or not continues(incident, seen.end_ms, config):
        return view.reference.negative
    own = [lane for lane in config.lanes if lane.rule is incident.rule]
    return state.history.negative(seen.end_ms, own[0].reference_ms) if len(own) == 1 else view.reference.negative


def _flood_moment(state: EntityState, seen: Assessment, active: bool, flooded: bool, config: DetectorConfig) -> Moment:
    return Moment(
        rule=Rule.COORDINATED_ACTIVITY,
        entity=state.entity,
        end_ms=seen.end_ms,
        starts_at_ms=seen.end_ms - PANE_MS,
        score=float(flooded),
        threshold=1.0,
        mass=float(state.history.sums(seen.end_ms, config.flood.window_ms).posts),
        severity=Severity.INFO,
        fires=flooded,
        vetoed=False,
        active=active,
    )


def _record(state: EntityState, decision: Decision, seen: Assessment, config: DetectorConfig) -> Alert:
    flood = decision.incident.rule is Rule.COORDINATED_ACTIVITY
    view = flood_view(state.history, seen, config) if flood else view_of(state.history, seen, config)
    recent = state.history.recent(seen.end_ms, view.lane.reference_ms)
    last = state.history.newest
    asked = not flood and decision.status not in ENDED
    fewest = would_not_fire_below(state.history, seen, view, config) if asked else None
    return describe(Sight(state.entity, seen, view, recent, last.model, last.model_revision, fewest), decision, config)


def trend_of(entity: str, pane: Pane, seen: Assessment, revision: int, config: DetectorConfig) -> Trend:
    """Return the wire record of a closed pane. Its score is 0 where no lane has enough support to judge."""
    exposure = config.prior.season.exposure(pane.start_ms, seen.end_ms) / DAY_MS
    share = pane.negative / pane.effective if pane.effective > 0 else 0.0
    return Trend(
        entity=entity,
        event_time_ms=seen.end_ms,
        window_start_ms=pane.start_ms,
        window_end_ms=seen.end_ms,
        revision=revision,
        posts=pane.posts,
        posts_effective=float(pane.effective),
        negative_mass=pane.negative,
        positive_mass=pane.positive,
        negative_share=four_decimals(min(1.0, share)),
        authors=len(pane.authors),
        clusters=pane.clusters,
        band=band_of(seen.expected.negative_per_day * exposure, seen.dispersion),
        score=four_decimals(seen.score),
        detector_version=DETECTOR_VERSION,
    )
