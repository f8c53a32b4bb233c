"""The negative-spike operator: panes, baseline, score and alert life of one entity behind the protocol of ``trends``.

Decisions are made at pane ends only, from the posts whose event time lies before them, folded pane by pane in event-time
order. So it does not matter when the watermark came by: a post that arrives after its pane was decided makes the operator
go back to a checkpoint, decide again, and tell the differences as higher revisions.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pipeline.core.baseline import absorb, fresh
from pipeline.core.clusters import Clusters
from pipeline.core.corrections import reconcile, shifted
from pipeline.core.decide import decide, trend_of
from pipeline.core.detect import Assessment, Known, assess
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import EntityState, decode, encode
from pipeline.core.forgetting import begins_anew, look_ms, may_go
from pipeline.core.pane_digest import PaneDigest, digest_of
from pipeline.core.panes import Pane, PaneRules, mention_of, pane_start, summarise
from pipeline.core.thresholds import OwnRate, observe
from pipeline.core.trends import NOTHING, PANE_MS, Step, TrendOperator
from pipeline.core.windows import THIN_AFTER_MS
from pipeline.events import Alert, ScoredPost, Trend

KEPT_CORRECTIONS = 64  # more than pane ends between two checkpoints: what late posts took back they may bring again
QUIET_TICK_MS = 6 * PANE_MS  # an open incident is looked at when a pane closes, and this often while nobody speaks

State = TypeVar("State", bound=EntityState)


def make_operator(config: DetectorConfig, tells_panes: bool = False) -> TrendOperator[EntityState]:
    """Return the operator for this configuration; ``tells_panes``: an operator of groups listens."""
    return NegativeSpikeOperator(config, tells_panes)


@dataclass(slots=True)
class Told:
    """What is to be told, in its order."""

    trends: list[Trend] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    panes: list[PaneDigest] = field(default_factory=list)


class PaneOperator(Generic[State]):
    """Panes, decisions and corrections of one key; what a pane is summed up from is the subclass's."""

    def __init__(self, config: DetectorConfig) -> None:
        self.config = config
        self._accepted_ms = PANE_MS + config.allowed_lateness_ms
        self._checkpoint_ms = self._accepted_ms + config.out_of_orderness_ms
        self._longest_ms = config.longest_ms

    def _pane_changed(self, state: State, start: int) -> Step:
        if start + PANE_MS <= state.decided.time_ms:
            if state.dirty_ms is not None and state.dirty_ms <= start:
                return NOTHING
            state.dirty_ms = start
        state.open_panes.add(start)
        return Step(timers=(start + PANE_MS,))

    def on_timer(self, state: State, timer_ms: int) -> Step:
        """Close the panes that end by ``timer_ms``; while an incident is open, ask to be called again."""
        until = max(timer_ms, state.decided.time_ms)
        if state.dirty_ms is None:
            told = self._run(state, until)
            state.told_alerts += told.alerts
            told.alerts = [shifted(record, state.corrections) for record in told.alerts]
        else:
            told = self._run_again(state, until)
        timers = (_next_tick(until),) if state.decided.is_open else ()
        return Step(tuple(told.trends), tuple(told.alerts), timers, (), tuple(told.panes))

    def _run_again(self, state: State, until: int) -> Told:
        since = self._rewind(state)
        kept = [alert for alert in state.told_alerts if alert.event_time_ms <= since]
        told = [alert for alert in state.told_alerts if alert.event_time_ms > since]
        again = self._run(state, until)
        told_ids = {alert.alert_id for alert in told}
        before = [alert for alert in kept if alert.alert_id in told_ids]
        state.told_alerts = [*kept, *again.alerts]
        again.alerts = reconcile([*before, *told], [*before, *again.alerts], state.corrections)
        return again

    def _rewind(self, state: State) -> int:
        """Go back to the newest checkpoint before the changed pane; return its time."""
        dirty = state.dirty_ms
        back = state.newer if dirty is None or state.newer.time_ms <= dirty else state.older
        state.dirty_ms = None
        state.newer, state.decided = back, back.copy()
        state.clusters.cut_from(back.time_ms)
        state.history.cut_from(back.time_ms)
        state.open_panes = {start for start in self._starts(state) if start >= back.time_ms}
        return back.time_ms

    def _run(self, state: State, until: int) -> Told:
        """Fold the panes that end by ``until``, in order, with the quiet time between them."""
        told = Told()
        for start in sorted([s for s in state.open_panes if s + PANE_MS <= until]):
            self.stay_quiet(state, start, told.alerts)
            self._checkpoint(state)
            self._fold(state, start, told)
        self.stay_quiet(state, until, told.alerts)
        return told

    def stay_quiet(self, state: State, until: int, alerts: list[Alert]) -> None:
        """Let time pass without posts: only open incidents care."""
        while state.decided.is_open and (tick := _next_tick(state.decided.time_ms)) <= until:
            state.decided.time_ms = tick
            alerts += self._decide(state, self._assess(state, tick), active=False)
        state.decided.time_ms = max(state.decided.time_ms, until)

    def _checkpoint(self, state: State) -> None:
        """Take a checkpoint at most once per allowed lateness, and forget what lies before the older of the two.

        Lateness goes by the newest post less the out-of-orderness, and that post lies in the pane at hand or after it: with
        these two spans added, no pane before the older checkpoint can hold a post that is not late.
        """
        now = state.decided.time_ms
        if now < state.newer.time_ms + self._checkpoint_ms or not self._is_out_of_reach(state, state.newer.time_ms):
            return
        state.older, state.newer = state.newer, state.decided.copy()
        since = state.older.time_ms
        self._forget(state, since)
        if state.told_alerts or state.corrections:
            self._forget_alerts(state, since)
        state.clusters.forget_before(since)
        absorbed = since if state.older.baseline is None else state.older.baseline.as_of_ms
        state.history.forget_before(min(absorbed, since - self._longest_ms))
        state.history.thin_before(since - THIN_AFTER_MS)

    def _forget_alerts(self, state: State, since: int) -> None:
        """Keep what late posts may still change, and the last word about incidents that began before."""
        last = {alert.alert_id: alert for alert in state.told_alerts if alert.event_time_ms <= since}
        current = {incident.alert_id for incident in (state.older.opinion, state.older.flood) if incident is not None}
        before = [alert for alert_id, alert in last.items() if alert_id in current]
        state.told_alerts = [*before, *(alert for alert in state.told_alerts if alert.event_time_ms > since)]
        living = current | {alert.alert_id for alert in state.told_alerts}
        living.update(list(state.corrections)[-KEPT_CORRECTIONS:])
        state.corrections = {alert_id: n for alert_id, n in state.corrections.items() if alert_id in living}

    def _fold(self, state: State, start: int, told: Told) -> None:
        state.open_panes.discard(start)
        self._close(state, self._sum_up(state, start), told)

    def judge(self, state: State, pane: Pane, alerts: list[Alert]) -> Assessment:
        """Decide at the end of the next pane, summed up already; what is to be told is added to ``alerts``."""
        end = pane.start_ms + PANE_MS
        self._absorb(state, pane.start_ms, end - self.config.guard_ms)
        state.history.append(pane)
        state.decided.time_ms = end
        moment = self._assess(state, end)
        alerts += self._decide(state, moment, active=True)
        self._observe(state, moment)
        opinion = state.decided.opinion
        lately = opinion is not None and opinion.is_open and end - opinion.opened_ms < self.config.freeze_at_most_ms
        pane.frozen = lately and not moment.cold
        return moment

    def _absorb(self, state: State, start: int, until: int) -> None:
        baseline = state.decided.baseline
        if baseline is None or begins_anew(state.history.newest_ms, start, self.config):
            baseline = state.decided.baseline = fresh(start)
            state.decided.own_rate = OwnRate(start)
        for pane in state.history.between(baseline.as_of_ms, until - PANE_MS):
            absorb(baseline, pane, self.config)

    def _observe(self, state: State, seen: Assessment) -> None:
        if state.decided.own_rate is not None:
            observe(state.decided.own_rate, seen.end_ms, seen.score, self.config.prior.tiers[seen.expected.tier], self.config)

    def _assess(self, state: State, end_ms: int) -> Assessment:
        baseline, own_rate = state.decided.baseline, state.decided.own_rate
        assert baseline is not None, "from its first pane on an entity has a past"
        assert own_rate is not None
        return assess(state.history, end_ms, Known(baseline, own_rate, state.decided.is_open), self.config)

    def _decide(self, state: State, seen: Assessment, active: bool) -> Iterator[Alert]:
        return decide(state, seen, active, self.config)

    def _is_out_of_reach(self, state: State, time_ms: int) -> bool:  # noqa: ARG002
        """Return whether nothing that is not late can change a pane before ``time_ms``, which was decided."""
        return True

    def _starts(self, state: State) -> Iterable[int]:
        """Return the starts of the panes that can be summed up again."""
        raise NotImplementedError

    def _sum_up(self, state: State, start: int) -> Pane:
        """Return the sums of the pane; what is new in it enters the clusters."""
        raise NotImplementedError

    def _close(self, state: State, pane: Pane, told: Told) -> None:
        """Decide at the end of the next pane; add what is to be told."""
        raise NotImplementedError

    def _forget(self, state: State, since: int) -> None:
        """Forget what only panes that start before ``since`` need."""
        raise NotImplementedError


class NegativeSpikeOperator(PaneOperator[EntityState]):
    """The rules over the posts of one entity."""

    def __init__(self, config: DetectorConfig, tells_panes: bool = False) -> None:
        super().__init__(config)
        self._tells_panes = tells_panes
        self.pane_rules = PaneRules(
            config.flood.young_age_ms, config.out_of_orderness_ms, config.posts_per_author, config.most_names
        )

    def new_state(self) -> EntityState:
        """Return the state of an entity never seen."""
        return EntityState(Clusters(self.config.cluster_memory_ms, self.config.cluster_capacity))

    def encode_state(self, state: EntityState) -> bytes:
        """Return the state as bytes with a version number."""
        return encode(state)

    def decode_state(self, encoded: bytes) -> EntityState:
        """Return the state; a newer version raises StateVersionError."""
        return decode(encoded, self.config)

    def on_event(self, state: EntityState, post: ScoredPost, watermark_ms: int) -> Step:
        """Keep one post for its pane. Posts that name nobody are ignored; one behind the allowed lateness comes back.

        What was decided already says nothing about lateness: when that happened depends on the host. It can always be gone
        back to, because the older checkpoint lies before every pane that is not late (``_checkpoint``).
        """
        start = pane_start(post.event_time_ms)
        if start + self._accepted_ms <= watermark_ms or start < state.older.time_ms:
            return Step(late=(post,))
        entity, event_id = post.entity, post.event_id
        if not entity:
            return NOTHING
        state.entity = entity
        posts = state.mentions.get(start)
        if posts is None:
            posts = state.mentions[start] = {}
        mention = mention_of(post)
        if event_id in posts and posts[event_id] <= mention:
            return NOTHING
        posts[event_id] = mention
        if start in state.open_panes and state.decided.time_ms < start + PANE_MS:
            return NOTHING
        step = self._pane_changed(state, start)
        return step if step is NOTHING else step._replace(timers=(*step.timers, look_ms(entity, start, self.config)))

    def on_timer(self, state: EntityState, timer_ms: int) -> Step:
        """Close the panes that end by ``timer_ms``; an entity that was silent for too long is gone then."""
        step, newest_ms = super().on_timer(state, timer_ms), max([state.history.newest_ms, *state.open_panes])
        return step._replace(is_gone=True) if may_go(newest_ms, timer_ms, self.config) else step

    def _starts(self, state: EntityState) -> Iterable[int]:
        return state.mentions

    def _sum_up(self, state: EntityState, start: int) -> Pane:
        return summarise(start, state.mentions[start].values(), state.clusters, state.history.totals, self.pane_rules)

    def _forget(self, state: EntityState, since: int) -> None:
        state.mentions = {start: posts for start, posts in state.mentions.items() if start >= since}
        state.told_trends = {start: told for start, told in state.told_trends.items() if start >= since}

    def _close(self, state: EntityState, pane: Pane, told: Told) -> None:
        moment = self.judge(state, pane, told.alerts)
        self._tell_trend(state, pane, moment, told.trends)
        if self._tells_panes:
            told.panes.append(digest_of(state.entity, pane, moment, state.clusters))

    def _tell_trend(self, state: EntityState, pane: Pane, moment: Assessment, trends: list[Trend]) -> None:
        told = state.told_trends.get(pane.start_ms)
        trend = trend_of(state.entity, pane, moment, 0 if told is None else told[0] + 1, self.config)
        numbers = (
            trend.posts, trend.posts_effective, trend.negative_mass, trend.positive_mass, trend.authors, trend.clusters,
            trend.score, trend.band.low, trend.band.expected, trend.band.high,
        )  # fmt: skip
        if told is None or told[1] != numbers:
            state.told_trends[pane.start_ms] = (trend.revision, numbers)
            trends.append(trend)


def _next_tick(time_ms: int) -> int:
    """Return the next moment at which silence is looked at."""
    return time_ms - time_ms % QUIET_TICK_MS + QUIET_TICK_MS
