"""The score that opens an alert: the tier's tail law, bent towards what this entity itself has shown.

Above ``threshold_base`` the tier's episodes come at ``rate_at_base * exp(-(score - base) / scale)`` a day. The rate at the
base is the mean of a gamma posterior: the tier's rate weighs as much as ``own_rate_strength_ms`` of history, the entity's own
episodes as much as its decayed days. So an entity that exceeds its tier's law again and again is asked for more.
"""

from dataclasses import dataclass
from math import log

from pipeline.core.decay import decayed
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.prior import Tier
from pipeline.times import BEFORE_ALL_MS, DAY_MS


@dataclass(slots=True)
class OwnRate:
    """Episodes above the base score, and the days in which they came, both decayed to ``as_of_ms``."""

    as_of_ms: int
    days: float = 0.0
    episodes: float = 0.0
    last_episode_ms: int = BEFORE_ALL_MS

    def copy(self) -> "OwnRate":
        """Return an independent copy."""
        return OwnRate(self.as_of_ms, self.days, self.episodes, self.last_episode_ms)


def observe(own: OwnRate, end_ms: int, score: float, tier: Tier, config: DetectorConfig) -> None:
    """Take the score of one pane; an episode is a score above the base, a cooldown after the one before."""
    elapsed_ms = end_ms - own.as_of_ms
    if elapsed_ms > 0:
        decay, mean_decay = decayed(elapsed_ms / config.own_rate_half_life_ms)
        own.days = own.days * decay + elapsed_ms / DAY_MS * mean_decay
        own.episodes *= decay
        own.as_of_ms = end_ms
    if score >= tier.threshold_base and score > 0.0 and end_ms - own.last_episode_ms >= config.lifecycle.cooldown_ms:
        own.episodes += 1.0
        own.last_episode_ms = end_ms


def open_threshold(own: OwnRate, tier: Tier, end_ms: int, config: DetectorConfig) -> float:
    """Return the score that is expected to be exceeded ``false_alerts_per_entity_day`` times a day.

    The episode of the last cooldown does not count yet: what begins now must not raise its own bar.
    """
    strength = config.own_rate_strength_ms / DAY_MS
    lasting = 1.0 if end_ms - own.last_episode_ms < config.lifecycle.cooldown_ms else 0.0
    past = max(0.0, own.episodes - lasting)
    rate = (tier.rate_at_base * strength + past) / (strength + own.days)
    return tier.threshold_base + tier.threshold_scale * max(0.0, log(rate / config.false_alerts_per_entity_day))
