"""Posts summed up once, to be judged many times: panes do not depend on thresholds, levels, or seasons.

What is decided is decided by the live operator's own ``stay_quiet`` and ``judge``; only the posts' way into panes is taken once.
So the alerts are those of ``pipeline.backtest.run``, as long as no post is late, which in event-time order none is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.backtest.volumes import Volume, volumes
from pipeline.core.clusters import Clusters
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.spikes import NegativeSpikeOperator
from pipeline.core.windows import ZERO, Mention, Pane, PaneRules, mention_of, pane_start, summarise
from pipeline.events import Alert, ScoredPost
from pipeline.jobs.trends import END_MS

Scores = dict[str, list[tuple[int, float]]]
PanesByEntity = dict[str, list[Pane]]


@dataclass(frozen=True)
class Verdict:
    """Alerts in the order in which they were decided, and by entity (pane start, score) of every pane, ascending."""

    alerts: tuple[Alert, ...]
    scores: Scores


class PreparedPosts:
    """Posts in event-time order; panes and volumes are made at the first use and kept for the settings they depend on."""

    def __init__(self, posts: Sequence[ScoredPost]) -> None:
        self._posts = posts
        self._panes: dict[tuple[int, int, PaneRules], PanesByEntity] = {}
        self._volumes: dict[tuple[int, int, tuple[int, int]], dict[str, Volume]] = {}

    def before(self, time_ms: int) -> "PreparedPosts":
        """Return the posts before ``time_ms``; themselves, where all of them are."""
        early = [post for post in self._posts if post.event_time_ms < time_ms]
        return self if len(early) == len(self._posts) else PreparedPosts(early)

    def volumes(self, span: tuple[int, int], config: DetectorConfig) -> dict[str, Volume]:
        """Return the volumes of the span by entity, as ``pipeline.backtest.volumes`` counts them."""
        key = config.cluster_memory_ms, config.cluster_capacity, span
        if key not in self._volumes:
            self._volumes[key] = volumes(self._posts, span, config)
        return self._volumes[key]

    def judge(self, config: DetectorConfig) -> Verdict:
        """Return what the detector decides about all panes, entity by entity."""
        operator = NegativeSpikeOperator(config)
        alerts: list[Alert] = []
        scores = {entity: _judge(operator, entity, panes, alerts) for entity, panes in self._by_entity(operator).items()}
        return Verdict(tuple(sorted(alerts, key=lambda alert: (alert.event_time_ms, alert.entity))), scores)

    def _by_entity(self, operator: NegativeSpikeOperator) -> PanesByEntity:
        config = operator.config
        key = config.cluster_memory_ms, config.cluster_capacity, operator.pane_rules
        if key not in self._panes:
            self._panes[key] = {entity: _panes(mentions, operator) for entity, mentions in sorted(_mentions(self._posts).items())}
        return self._panes[key]


def _mentions(posts: Sequence[ScoredPost]) -> dict[str, dict[int, dict[str, Mention]]]:
    """Return what is said of each entity by pane, each post once: of two versions the one that sorts first, as live."""
    found: dict[str, dict[int, dict[str, Mention]]] = {}
    for post in posts:
        if post.entity:
            mention = mention_of(post)
            said = found.setdefault(post.entity, {}).setdefault(pane_start(mention.event_time_ms), {})
            said[mention.event_id] = min(mention, said.get(mention.event_id, mention))
    return found


def _panes(mentions: dict[int, dict[str, Mention]], operator: NegativeSpikeOperator) -> list[Pane]:
    clusters = Clusters(operator.config.cluster_memory_ms, operator.config.cluster_capacity)
    panes: list[Pane] = []
    for start, said in sorted(mentions.items()):
        clusters.forget_before(start)
        panes.append(summarise(start, said.values(), clusters, panes[-1].through if panes else ZERO, operator.pane_rules))
    return panes


def _judge(operator: NegativeSpikeOperator, entity: str, panes: list[Pane], alerts: list[Alert]) -> list[tuple[int, float]]:
    """Return (pane start, score) of each pane. Whether a pane is frozen is written anew before anything reads it."""
    state = operator.new_state()
    state.entity = entity
    scores = []
    for pane in panes:
        operator.stay_quiet(state, pane.start_ms, alerts)
        scores.append((pane.start_ms, round(operator.judge(state, pane, alerts).score, 4)))
    operator.stay_quiet(state, END_MS, alerts)
    return scores
