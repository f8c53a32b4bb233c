"""Posts summed up once, to be judged many times: panes do not depend on thresholds, levels, or seasons.

What is decided is decided by the live operator's own ``stay_quiet`` and ``judge``; only the posts' way into panes is taken once.
So what is told is what ``pipeline.backtest.run`` tells, as long as no post is late, which in event-time order none is.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from pydantic import TypeAdapter

from pipeline.backtest.volumes import Volume, volume_of
from pipeline.core.clusters import Clusters
from pipeline.core.decide import trend_of
from pipeline.core.decimals import four_decimals
from pipeline.core.detect import Assessment
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.panes import ZERO, Mention, Pane, PaneRules, mention_of, pane_start, summarise
from pipeline.core.spikes import NegativeSpikeOperator
from pipeline.core.trends import PANE_MS
from pipeline.events import Alert, ScoredPost, Trend
from pipeline.times import AFTER_ALL_MS

Mentions = dict[str, list[Mention]]
Scores = dict[str, list[tuple[int, float]]]
PanesByEntity = dict[str, list[Pane]]
TrendLine = tuple[int, str, bytes]  # event time, entity, JSON

_TRENDS = TypeAdapter(list[Trend])

in_order = attrgetter("event_time_ms", "entity")


@dataclass(frozen=True)
class Verdict:
    """Alerts in the order in which they were decided, and by entity (pane start, score) of every pane, ascending."""

    alerts: tuple[Alert, ...]
    scores: Scores


@dataclass(frozen=True)
class Told:
    """Alerts and trends in the order in which they were decided."""

    alerts: tuple[Alert, ...]
    trends: tuple[TrendLine, ...]

    def within(self, span: tuple[int, int]) -> list[Trend]:
        """Return the trends of the panes that begin in the span."""
        lines = (line for end_ms, _, line in self.trends if span[0] <= end_ms - PANE_MS < span[1])
        return _TRENDS.validate_json(b"[" + b",".join(lines) + b"]")


class Posts(Protocol):
    """Recorded posts to which the rules are applied, in this process or in several."""

    def volumes(self, span: tuple[int, int], config: DetectorConfig) -> dict[str, Volume]:
        """Return the volumes of the span by entity, ascending; near-identical posts count once a day."""

    def judge(self, config: DetectorConfig, until_ms: int = AFTER_ALL_MS) -> Verdict:
        """Return what the detector decides about all panes of the posts before ``until_ms``."""

    def tell(self, config: DetectorConfig) -> Told:
        """Return all that the detector says to all posts."""


def mentions_of(posts: Iterable[ScoredPost]) -> Mentions:
    """Return what is said of each entity, in the order of the posts."""
    found: Mentions = {}
    for post in posts:
        if post.entity:
            found.setdefault(post.entity, []).append(mention_of(post))
    return found


class PreparedPosts:
    """Posts by entity, in event-time order; panes and volumes are made at the first use and kept for what they depend on."""

    def __init__(self, mentions: Mentions) -> None:
        self._mentions = mentions
        self._panes: dict[tuple[int, int, PaneRules], PanesByEntity] = {}
        self._volumes: dict[tuple[int, int, int, tuple[int, int]], dict[str, Volume]] = {}

    def volumes(self, span: tuple[int, int], config: DetectorConfig) -> dict[str, Volume]:
        """See ``Posts``."""
        key = config.cluster_memory_ms, config.cluster_capacity, config.most_names, span
        if key not in self._volumes:
            found = {entity: volume_of(mentions, span, config) for entity, mentions in sorted(self._mentions.items())}
            self._volumes[key] = {entity: volume for entity, volume in found.items() if volume.posts}
        return self._volumes[key]

    def judge(self, config: DetectorConfig, until_ms: int = AFTER_ALL_MS) -> Verdict:
        """See ``Posts``."""
        operator = NegativeSpikeOperator(config)
        alerts: list[Alert] = []
        scores = {
            entity: [(pane.start_ms, four_decimals(seen.score)) for pane, seen in _judged(operator, entity, panes, alerts)]
            for entity, panes in self._before(until_ms, operator).items()
        }
        return Verdict(tuple(sorted(alerts, key=in_order)), scores)

    def tell(self, config: DetectorConfig) -> Told:
        """See ``Posts``."""
        operator = NegativeSpikeOperator(config)
        alerts: list[Alert] = []
        trends = [
            (seen.end_ms, entity, trend_of(entity, pane, seen, 0, config).to_json())
            for entity, panes in self._by_entity(operator).items()
            for pane, seen in _judged(operator, entity, panes, alerts)
        ]
        return Told(tuple(sorted(alerts, key=in_order)), tuple(sorted(trends)))

    def _by_entity(self, operator: NegativeSpikeOperator) -> PanesByEntity:
        config = operator.config
        key = config.cluster_memory_ms, config.cluster_capacity, operator.pane_rules
        if key not in self._panes:
            self._panes[key] = {entity: _panes(mentions, operator) for entity, mentions in sorted(self._mentions.items())}
        return self._panes[key]

    def _before(self, until_ms: int, operator: NegativeSpikeOperator) -> PanesByEntity:
        """Return the panes of the posts before ``until_ms``: those of all posts, where none of them is cut in two."""
        if until_ms % PANE_MS and until_ms != AFTER_ALL_MS:
            early = {entity: _early(mentions, until_ms) for entity, mentions in self._mentions.items()}
            return PreparedPosts({entity: mentions for entity, mentions in early.items() if mentions})._by_entity(operator)
        found = {entity: [pane for pane in own if pane.start_ms < until_ms] for entity, own in self._by_entity(operator).items()}
        return {entity: panes for entity, panes in found.items() if panes}


def _early(mentions: Sequence[Mention], until_ms: int) -> list[Mention]:
    return [mention for mention in mentions if mention.event_time_ms < until_ms]


def _panes(mentions: Sequence[Mention], operator: NegativeSpikeOperator) -> list[Pane]:
    """Return the panes; each post counts once: of two versions the one that sorts first, as live."""
    by_pane: dict[int, dict[str, Mention]] = {}
    for mention in mentions:
        said = by_pane.setdefault(pane_start(mention.event_time_ms), {})
        said[mention.event_id] = min(mention, said.get(mention.event_id, mention))
    clusters = Clusters(operator.config.cluster_memory_ms, operator.config.cluster_capacity)
    panes: list[Pane] = []
    for start, said in sorted(by_pane.items()):
        clusters.forget_before(start)
        panes.append(summarise(start, said.values(), clusters, panes[-1].through if panes else ZERO, operator.pane_rules))
    return panes


def _judged(
    operator: NegativeSpikeOperator, entity: str, panes: Sequence[Pane], alerts: list[Alert]
) -> Iterator[tuple[Pane, Assessment]]:
    """Yield each pane as it was judged. Whether a pane is frozen is written anew before anything reads it."""
    state = operator.new_state()
    state.entity = entity
    for pane in panes:
        operator.stay_quiet(state, pane.start_ms, alerts)
        yield pane, operator.judge(state, pane, alerts)
    operator.stay_quiet(state, AFTER_ALL_MS, alerts)
