"""The in-process host of the trend operator: state by entity, timers, and the watermark. The Flink job's twin.

The watermark follows Flink's bounded out-of-orderness: the greatest event time seen, less the bound, less one millisecond;
it moves after each post, so the results do not depend on how the posts were cut into batches.

Timers go by that watermark, which is that of all entities. Lateness goes by the clock of the entity itself, its newest event
time so far, less the bound: Kafka keeps the order of one key, but two hosts never see the keys interleaved alike, so only
then do both hosts, and every restart, call the same posts late.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, Generic, NamedTuple

from pipeline.core.detector_config import DetectorConfig
from pipeline.core.market_rules import OFF
from pipeline.core.pane_digest import PaneDigest
from pipeline.core.spikes import make_operator
from pipeline.core.trends import NOTHING, State, Step, TrendOperator
from pipeline.events import Alert, ScoredPost, Trend
from pipeline.jobs.market_stage import MarketStage
from pipeline.times import AFTER_ALL_MS, BEFORE_ALL_MS


class Snapshot(NamedTuple):
    """Watermark, encoded state by entity, pending timers, newest event time by entity, encoded state by group."""

    watermark_ms: int
    states: dict[str, bytes]
    timers: list[tuple[int, str]]
    newest_ms: dict[str, int]
    groups: dict[str, bytes]


def make_host(config: DetectorConfig) -> "TrendHost[Any]":
    """Return the host of the shipped operators: entities, and the markets they make up, unless these are off."""
    if config.market.groups == OFF:
        return TrendHost(make_operator(config), config.out_of_orderness_ms)
    return TrendHost(make_operator(config, tells_panes=True), config.out_of_orderness_ms, MarketStage(config))


class TrendHost(Generic[State]):
    """Feeds one operator, and the markets where there are any. Outputs come in the order (timer, markets first, entity)."""

    def __init__(self, operator: TrendOperator[State], out_of_orderness_ms: int, market: MarketStage | None = None) -> None:
        self._operator = operator
        self._market = market
        self._fired_ms = BEFORE_ALL_MS
        self._behind_ms = out_of_orderness_ms + 1
        self._states: dict[str, State] = {}
        self._timers: list[tuple[int, str]] = []
        self._registered: set[tuple[int, str]] = set()
        self._newest_ms: dict[str, int] = {}
        self.watermark_ms = BEFORE_ALL_MS

    @property
    def entities(self) -> Iterable[str]:
        """Return the entities that have state."""
        return self._states.keys()

    def on_post(self, post: ScoredPost) -> Step:
        """Take one post; the watermark moves up to it and due timers fire."""
        entity, event_time_ms = post.entity, post.event_time_ms
        if not entity:
            return NOTHING
        newest_ms = self._newest_ms.get(entity, BEFORE_ALL_MS)
        state = self._states.get(entity)
        if state is None:
            state = self._states[entity] = self._operator.new_state()
        step = self._operator.on_event(state, post, newest_ms - self._behind_ms)
        if event_time_ms > newest_ms:
            self._newest_ms[entity] = event_time_ms
        if step is not NOTHING:
            self._register(step, entity)
        reached_ms = event_time_ms - self._behind_ms
        if reached_ms > self.watermark_ms:
            self.watermark_ms = reached_ms
            if self._timers and self._timers[0][0] <= reached_ms:
                fired = self._fire()
                return fired._replace(late=step.late) if step.late else fired
        return Step(late=step.late) if step.late else NOTHING

    def on_posts(self, posts: Iterable[ScoredPost]) -> Iterator[Step]:
        """Take many posts; yield the steps that say something."""
        for post in posts:
            step = self.on_post(post)
            if step is not NOTHING:
                yield step

    def advance(self, watermark_ms: int) -> Step:
        """Move the watermark (never back) and fire what is due."""
        self.watermark_ms = max(self.watermark_ms, watermark_ms)
        is_due = bool(self._timers) and self._timers[0][0] <= self.watermark_ms
        if not is_due and (self._market is None or not self._market.is_due(self.watermark_ms)):
            return NOTHING
        return self._fire()

    def finish(self) -> Step:
        """End the stream: everything pending is decided."""
        return self.advance(AFTER_ALL_MS)

    def snapshot(self) -> Snapshot:
        """Return everything known."""
        states = {entity: self._operator.encode_state(state) for entity, state in self._states.items()}
        groups = {} if self._market is None else self._market.snapshot()
        return Snapshot(self.watermark_ms, states, sorted(self._timers), dict(self._newest_ms), groups)

    def restore(self, snapshot: Snapshot) -> None:
        """Take over a snapshot in place of everything known."""
        if self._market is not None:
            self._market.restore(snapshot.groups)
        self._fired_ms = self.watermark_ms = snapshot.watermark_ms
        self._states = {entity: self._operator.decode_state(encoded) for entity, encoded in snapshot.states.items()}
        self._timers = list(snapshot.timers)
        heapq.heapify(self._timers)
        self._registered = set(self._timers)
        self._newest_ms = dict(snapshot.newest_ms)

    def _register(self, step: Step, entity: str) -> None:
        for timer_ms in step.timers:
            timer = (timer_ms, entity)
            if timer not in self._registered:
                self._registered.add(timer)
                heapq.heappush(self._timers, timer)

    def _fire(self) -> Step:
        """Fire what is due, time by time: the markets hear of all panes that end at a time before they decide about it."""
        trends: list[Trend] = []
        alerts: list[Alert] = []
        unheard: list[PaneDigest] = []
        while self._timers and self._timers[0][0] <= self.watermark_ms:
            at_ms = max(self._timers[0][0], self._fired_ms)  # corrections all at once
            panes: list[PaneDigest] = []
            of_members: list[Alert] = []
            while self._timers and self._timers[0][0] <= at_ms:
                step = self._fire_one(heapq.heappop(self._timers))
                trends += step.trends
                of_members += step.alerts
                panes += step.panes
            if self._market is not None:
                if panes or self._market.is_due(at_ms):
                    alerts += self._market.fold(panes, self._fired_ms, at_ms)
            else:
                unheard += panes
            alerts += of_members
        if self._market is not None and self._market.is_due(self.watermark_ms):
            alerts += self._market.fold((), self._fired_ms, self.watermark_ms)
        self._fired_ms = self.watermark_ms
        return Step(tuple(trends), tuple(alerts), panes=tuple(unheard))

    def _fire_one(self, timer: tuple[int, str]) -> Step:
        self._registered.discard(timer)
        state = self._states.get(timer[1])
        if state is None:
            return NOTHING  # gone meanwhile
        step = self._operator.on_timer(state, timer[0])
        if step.is_gone:
            del self._states[timer[1]], self._newest_ms[timer[1]]
        if step.timers:
            self._register(step, timer[1])
        return step
