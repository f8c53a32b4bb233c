"""Volume alone: how unusual are the counts of an entity, where nothing but counts is known?

A count over a window is transformed by a power (between root and identity: social counts are over-dispersed, but a root
flattens real bursts) and standardised by its own exponentially weighted mean and deviation. What is expected rises with the
recent level, so that the second hour of a storm is no news. Scores of several windows are averaged; one pane alone counts as
a burst when it is far beyond everything. Then the pooled season is taken off, and the score is measured against the
entity's own daily maxima: who is often loud must be louder.

No product code uses this rule: the detector needs posts, and NAB's series hold nothing but counts. The constants were explored
on its ten tweet-volume series (see docs/backtest); ``benchmarks.nab`` says how well they do.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from math import sqrt

from pipeline.core.seasonality import SLOT_MS, offset_ms
from pipeline.core.trends import PANE_MS
from pipeline.times import DAY_MS, HOUR_MS

PANES_PER_DAY = 288
SEASON_CLIP = 3.0
OWN_REFERENCE = 2.0  # a daily maximum of this score is taken as ordinary
OWN_LEAST = 0.3
OWN_MOST = 3.0


@dataclass(frozen=True, slots=True)
class ScaleRules:
    """One window of ``panes``. ``floor`` bounds the deviation of the transformed count from below; scores end at ``clip``.

    The expectation rises by ``recent_weight`` of what the mean of the last ``recent_hours`` (a half-life) is above the long one.
    """

    panes: int
    floor: float
    clip: float
    recent_hours: float
    recent_weight: float


@dataclass(frozen=True, slots=True)
class VolumeRules:
    """The rule's constants; half-lives in days. ``own_power``: how far the entity's own daily maxima count (0: not at all)."""

    power: float = 0.62
    half_life_days: float = 10.0
    scales: tuple[ScaleRules, ...] = (
        ScaleRules(3, 0.28, 9.0, 24.0, 0.15),
        ScaleRules(12, 0.28, 9.0, 24.0, 0.15),
        ScaleRules(24, 0.28, 9.0, 24.0, 0.15),
    )
    burst: ScaleRules = ScaleRules(1, 2.8, 4.0, 1.4, 0.66)
    burst_weight: float = 0.97
    own_half_life_days: float = 25.0
    own_power: float = 0.16
    burst_own_power: float = 1.2
    season_weight: float = 0.84
    season_half_life_days: float = 30.0


class Scale:
    """The running mean, deviation and recent level of one window's transformed count."""

    __slots__ = ("_counts", "_mean", "_recent", "_seen", "_sum", "_variance", "rules")

    def __init__(self, rules: ScaleRules) -> None:
        self.rules = rules
        self._counts: deque[float] = deque()
        self._sum = self._mean = self._variance = self._recent = 0.0
        self._seen = 0

    def add(self, count: float, volume: VolumeRules) -> float:
        """Take the count of the next pane; return the window's score against what was known before."""
        self._counts.append(count)
        self._sum += count
        if len(self._counts) > self.rules.panes:
            self._sum -= self._counts.popleft()
        if len(self._counts) < self.rules.panes:
            return 0.0
        value = (max(self._sum, 0.0) + 0.375) ** volume.power / volume.power
        score = self._score(value)
        self._learn(value, volume)
        return score

    def _score(self, value: float) -> float:
        if self._seen == 0:
            return 0.0
        expected = self._mean + self.rules.recent_weight * max(0.0, self._recent - self._mean)
        return min((value - expected) / sqrt(self._variance + self.rules.floor**2), self.rules.clip)

    def _learn(self, value: float, volume: VolumeRules) -> None:
        self._seen += 1
        weight = max(_step(volume.half_life_days * PANES_PER_DAY), 1.0 / self._seen)
        difference = value - self._mean
        self._mean += weight * difference
        self._variance = (1.0 - weight) * (self._variance + weight * difference * difference)
        recent_panes = self.rules.recent_hours * PANES_PER_DAY / 24.0
        self._recent += max(_step(recent_panes), 1.0 / self._seen) * (value - self._recent)


class OwnScale:
    """Measures scores against the entity's own daily maxima."""

    __slots__ = ("_days", "_maximum", "_panes", "_typical", "half_life_days", "power")

    def __init__(self, power: float, half_life_days: float) -> None:
        self.power = power
        self.half_life_days = half_life_days
        self._typical = OWN_REFERENCE
        self._maximum = 0.0
        self._panes = 0
        self._days = 1

    def add(self, score: float) -> float:
        """Take the next pane's score; return it relative to what the entity's days usually reach."""
        relative: float = score / (max(self._typical, OWN_LEAST * OWN_REFERENCE) / OWN_REFERENCE) ** self.power
        self._maximum = max(self._maximum, score)
        self._panes += 1
        if self._panes == PANES_PER_DAY:
            self._days += 1
            weight = max(_step(self.half_life_days), 1.0 / self._days)
            self._typical += weight * (min(self._maximum, OWN_MOST * self._typical) - self._typical)
            self._maximum, self._panes = 0.0, 0
        return relative


@lru_cache(maxsize=256)
def _step(half_life: float) -> float:
    return float(1.0 - 0.5 ** (1.0 / half_life))


@dataclass(slots=True)
class PooledSeason:
    """The mean score of each half-hour of the day, working days and weekends apart, pooled over entities."""

    timezone: str
    half_life_days: float
    _means: dict[int, float] = field(default_factory=dict)
    _seen: dict[int, int] = field(default_factory=dict)

    def expected(self, time_ms: int) -> float:
        """Return the usual score of this half-hour; trusted the more often it has been seen."""
        slot = day_slot(time_ms, self.timezone)
        seen = self._seen.get(slot, 0)
        return self._means.get(slot, 0.0) * seen / (seen + 12.0)

    def learn(self, time_ms: int, scores: list[float]) -> None:
        """Take the scores of all entities in one pane."""
        slot = day_slot(time_ms, self.timezone)
        mean = sum(min(max(score, -SEASON_CLIP), SEASON_CLIP) for score in scores) / len(scores)
        self._seen[slot] = self._seen.get(slot, 0) + 1
        weight = max(_step(self.half_life_days * SLOT_MS / PANE_MS), 1.0 / self._seen[slot])
        self._means[slot] = self._means.get(slot, 0.0) + weight * (mean - self._means.get(slot, 0.0))


def day_slot(time_ms: int, timezone: str) -> int:
    """Return the half-hour of the local day (0 to 47), plus 48 on Saturdays and Sundays."""
    local_ms = time_ms + offset_ms(timezone, time_ms // HOUR_MS)
    weekday = (local_ms // DAY_MS + 3) % 7
    return local_ms % DAY_MS // SLOT_MS + (48 if weekday >= 5 else 0)


class _Entity:
    __slots__ = ("burst", "burst_own", "own", "scales")

    def __init__(self, rules: VolumeRules) -> None:
        self.scales = [Scale(scale) for scale in rules.scales]
        self.burst = Scale(rules.burst)
        self.own = OwnScale(rules.own_power, rules.own_half_life_days)
        self.burst_own = OwnScale(rules.burst_own_power, rules.own_half_life_days)


class VolumeGroup:
    """Scores the counts of a group of entities that share a season, pane by pane."""

    def __init__(self, rules: VolumeRules, timezone: str) -> None:
        self.rules = rules
        self._entities: dict[str, _Entity] = {}
        self._seasons = [PooledSeason(timezone, rules.season_half_life_days) for _ in range(2)]

    def add(self, time_ms: int, counts: Mapping[str, float]) -> dict[str, float]:
        """Take the counts of the pane that ends at ``time_ms``, by entity; return their scores. Times ascend."""
        raw = {entity: self._raw(entity, count) for entity, count in counts.items()}
        usual = [season.expected(time_ms) for season in self._seasons]
        for season, scores in zip(self._seasons, zip(*raw.values(), strict=True), strict=True):
            season.learn(time_ms, list(scores))
        return {entity: self._final(entity, scores, usual) for entity, scores in raw.items()}

    def _raw(self, entity: str, count: float) -> tuple[float, float]:
        state = self._entities.get(entity)
        if state is None:
            state = self._entities[entity] = _Entity(self.rules)
        scores = [scale.add(count, self.rules) for scale in state.scales]
        return sum(scores) / len(scores), state.burst.add(count, self.rules)

    def _final(self, entity: str, scores: tuple[float, float], usual: list[float]) -> float:
        state, weight = self._entities[entity], self.rules.season_weight
        steady = state.own.add(scores[0] - weight * usual[0])
        burst = state.burst_own.add(scores[1] - weight * usual[1])
        return max(steady, self.rules.burst_weight * burst)
