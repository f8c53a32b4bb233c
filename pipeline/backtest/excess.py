"""How high scores get by themselves: episode maxima over the training span, and the tail that is read off them.

An episode opens when a score with enough support reaches a level and closes a cooldown later, as alerts do. Their rate per
entity-day against the level is a decreasing curve; its upper part is taken as exponential (a generalised Pareto law of shape
0: Siffer et al., KDD 2017, restricted to the shape that few exceedances can support).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.backtest.prepared import Scores
from pipeline.core.trends import PANE_MS
from pipeline.times import BEFORE_ALL_MS, DAY_MS

BASE_RATE_FACTOR = 4.0  # the law starts where episodes are four times as frequent as wanted
LEAST_EPISODES = 5.0
POOL_EPISODES = 20.0
BUILT_IN_SCALE = 1.0  # of the decimal logarithms that scores are made of
LEAST_LEVEL = 0.5  # an alert that never falls below half of its threshold would never end


@dataclass(slots=True)
class TierScores:
    """Supported scores of one tier's entities: for each entity (time_ms, score) ascending; and its entity-days.

    ``warm_days``: those behind an entity's cold start.
    """

    entity_days: float = 0.0
    series: list[list[tuple[int, float]]] = field(default_factory=list)
    warm_days: float = 0.0


@dataclass(frozen=True, slots=True)
class Law:
    """Episodes above ``s`` come at ``rate * exp(-(s - base) / scale)`` per entity-day, for s >= base."""

    base: float
    scale: float
    rate: float


def tier_scores(
    scores: Scores, tier_of: Mapping[str, int], span: tuple[int, int], tiers: int, cold_start_ms: int
) -> list[TierScores]:
    """Return the scores by tier at the moments that have the support an alert needs: elsewhere the detector's score is 0."""
    result = [TierScores() for _ in range(tiers)]
    days = (span[1] - span[0]) / DAY_MS
    for entity, tier in tier_of.items():
        own = [(start_ms, score) for start_ms, score in scores[entity] if span[0] <= start_ms < span[1]]
        result[tier].series.append([(start_ms + PANE_MS, score) for start_ms, score in own if score > 0.0])
        result[tier].entity_days += days
        warm_ms = span[1] - max(span[0], scores[entity][0][0] + cold_start_ms)
        result[tier].warm_days += max(0, warm_ms) / DAY_MS
    return result


def episodes(series: Sequence[tuple[int, float]], level: float, cooldown_ms: int) -> list[float]:
    """Return the maxima of the episodes that open at ``level``: one per cooldown."""
    maxima: list[float] = []
    opened = BEFORE_ALL_MS
    for time_ms, score in series:
        if time_ms - opened >= cooldown_ms:
            if score < level:
                continue
            opened = time_ms
            maxima.append(score)
        else:
            maxima[-1] = max(maxima[-1], score)
    return maxima


def exceedance_law(tiers: Sequence[TierScores], target_rate: float, cooldown_ms: int = DAY_MS) -> list[Law]:
    """Return each tier's law, its scale shrunk to that of all tiers by the number of episodes, and that to a built-in one.

    The law starts where episodes are four times as frequent as wanted, or, in a short span, where there are at least five of
    them. Where even the support alone makes episodes rarer, it starts at LEAST_LEVEL: support decides. A tier without
    entities has the law of all.
    """
    everything = TierScores(sum(t.entity_days for t in tiers), [series for t in tiers for series in t.series])
    pooled = _law(everything, target_rate, cooldown_ms, BUILT_IN_SCALE)
    return [_law(tier, target_rate, cooldown_ms, pooled.scale) if tier.entity_days > 0 else pooled for tier in tiers]


def _law(tier: TierScores, target_rate: float, cooldown_ms: int, usual_scale: float) -> Law:
    """Return the law; without any episode one is assumed, for not having seen one in a short span promises little."""
    days = max(tier.entity_days, 1.0)
    base = _level_of_rate(tier, max(BASE_RATE_FACTOR * target_rate, LEAST_EPISODES / days), cooldown_ms)
    excess = [peak - base for series in tier.series for peak in episodes(series, base, cooldown_ms)]
    scale = (sum(excess) + POOL_EPISODES * usual_scale) / (len(excess) + POOL_EPISODES)
    return Law(base, max(scale, 0.05), max(len(excess), 1) / days)


def _level_of_rate(tier: TierScores, rate: float, cooldown_ms: int) -> float:
    """Return the lowest level, to 0.01, at which episodes are no more frequent than ``rate``; LEAST_LEVEL if they never are."""
    low = int(100 * LEAST_LEVEL)
    high = max(low, 1 + int(100 * max((score for series in tier.series for _, score in series), default=0.0)))
    while low < high:
        mid = (low + high) // 2
        count = sum(len(episodes(series, mid / 100, cooldown_ms)) for series in tier.series)
        if count > rate * tier.entity_days:
            low = mid + 1
        else:
            high = mid
    return low / 100
