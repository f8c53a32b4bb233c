"""The operator of a group of entities: the same rules over the sum of its members, and an alert when it is the market.

It is fed with the digests of its members' panes (``pipeline.core.pane_digest``) and told the same way when one of them is
corrected, so all that ``pipeline.core.spikes`` says of late posts holds for it. An alert needs breadth: the score of a moment
without enough members that exceed, or without its loudest member not high enough, has no support.
"""

from collections.abc import Iterable, Iterator

from pipeline.core.clusters import Clusters
from pipeline.core.decide import decide
from pipeline.core.detect import Assessment, all_views, view_of
from pipeline.core.detector_config import MARKET, DetectorConfig, market_config
from pipeline.core.market_breadth import is_broad, market_wide
from pipeline.core.market_pane import sum_up
from pipeline.core.market_rules import group_of
from pipeline.core.market_state import MarketState, decode, encode
from pipeline.core.pane_digest import PaneDigest
from pipeline.core.panes import Pane
from pipeline.core.spikes import QUIET_TICK_MS, PaneOperator, Told
from pipeline.core.trends import NOTHING, PANE_MS, Operator, Step
from pipeline.events import Alert, MarketWide, Rule


def make_market_operator(config: DetectorConfig) -> Operator[MarketState, PaneDigest]:
    """Return the operator for the groups of the entities that ``config`` is for."""
    return MarketOperator(market_config(config))


class MarketOperator(PaneOperator[MarketState]):
    """The rules over the digests of one group's members."""

    def new_state(self) -> MarketState:
        """Return the state of a group never heard of."""
        return MarketState(Clusters(self.config.cluster_memory_ms, self.config.cluster_capacity))

    def encode_state(self, state: MarketState) -> bytes:
        """Return the state as bytes with a version number."""
        return encode(state)

    def decode_state(self, encoded: bytes) -> MarketState:
        """Return the state; a newer version raises StateVersionError."""
        return decode(encoded, self.config)

    def on_event(self, state: MarketState, digest: PaneDigest, watermark_ms: int, /) -> Step:
        """Keep one digest for its pane, in place of an earlier one of this member.

        One behind the allowed lateness is left out: its entity's own trends and alerts have it.
        """
        start = digest.start_ms
        state.watermark_ms = max(state.watermark_ms, watermark_ms)
        if start + self._accepted_ms <= watermark_ms or start < state.older.time_ms:
            return NOTHING
        if not state.entity:
            state.entity = group_of(digest.entity, self.config.market.groups)
        digests = state.digests.get(start)
        if digests is None:
            digests = state.digests[start] = {}
        elif digests.get(digest.entity) == digest:
            return NOTHING
        digests[digest.entity] = digest
        if start in state.open_panes and state.decided.time_ms < start + PANE_MS:
            return NOTHING
        return self._pane_changed(state, start)

    def _is_out_of_reach(self, state: MarketState, time_ms: int) -> bool:
        """Return whether the watermark says so: a host may have gone ahead of it, because some members went quiet."""
        return time_ms + self._accepted_ms <= state.watermark_ms

    def _starts(self, state: MarketState) -> Iterable[int]:
        return state.digests

    def _sum_up(self, state: MarketState, start: int) -> Pane:
        summed = sum_up(start, state.digests[start], state.clusters, state.history.totals, self.config)
        state.parts[start] = summed.parts
        return summed.pane

    def _close(self, state: MarketState, pane: Pane, told: Told) -> None:
        """Judge the pane, or only keep it where there is nothing to say: most panes of most markets."""
        if self._may_speak(state, pane):
            self.judge(state, pane, told.alerts)
        else:
            state.history.append(pane)
            state.decided.time_ms = pane.start_ms + PANE_MS

    def _may_speak(self, state: MarketState, pane: Pane) -> bool:
        """Return whether the hour is negative enough to look at it, or half an hour has passed: a day moves slowly."""
        judged = state.decided.own_rate
        if judged is None or state.decided.is_open or pane.start_ms // QUIET_TICK_MS > (judged.as_of_ms - 1) // QUIET_TICK_MS:
            return True
        mass = state.history.negative(pane.start_ms + PANE_MS, MARKET.reference_ms) + pane.negative
        return mass >= MARKET.support.negative_mass

    def _forget(self, state: MarketState, since: int) -> None:
        state.forget(since, self._longest_ms, self.config.market.forget_ms)

    def _assess(self, state: MarketState, end_ms: int) -> Assessment:
        seen = super()._assess(state, end_ms)
        base = min(seen.threshold, self.config.prior.tiers[seen.expected.tier].threshold_base)
        if seen.leading is None or seen.score < base:
            return seen
        views = [view for view in all_views(state.history, seen, self.config) if view.supported and view.score >= base]
        for view in sorted(views, key=lambda each: -each.score):  # a loud but narrow hour must not hide a broad day
            if is_broad(state, seen, view, seen.threshold if view.score >= seen.threshold else base, self.config):
                return seen._replace(leading=view)
        return seen._replace(leading=seen.leading._replace(supported=False, firm=False))

    def _decide(self, state: MarketState, seen: Assessment, active: bool) -> Iterator[Alert]:
        """Yield what is to be told. A flood within the market vetoes; its notices are the members'."""
        for alert in decide(state, seen, active, self.config):
            if alert.rule is Rule.MARKET_WIDE:
                lane = view_of(state.history, seen, self.config).lane
                yield _told(alert, market_wide(state, seen.end_ms, lane, self.config))


def _told(alert: Alert, market: MarketWide) -> Alert:
    own = [member.entity for member in market.members if member.own]
    words = (
        f" {market.exceeding} of {market.entities} entities with a history exceed what they expect of themselves; "
        f"together they are at {market.factor:.1f} times that. "
        + (f"Beyond that stand out: {', '.join(own)}." if own else "None stands out beyond that.")
    )
    return alert.model_copy(update={"market": market, "explanation": alert.explanation + words})
