"""What is known before an entity is: the group's level, share, dispersion, season and thresholds, fitted on history.

A prior is an artifact with a version: ``groundswell backtest`` fits one on its training span; the one below is the
built-in start for groups nobody has fitted yet.
"""

from dataclasses import dataclass, field

from pipeline.core.seasonality import SeasonalProfile


@dataclass(frozen=True, slots=True)
class Tier:
    """Entities of similar volume, and how high they score by chance.

    Scores above ``threshold_base`` come ``rate_at_base`` times a day, higher ones exponentially more rarely: by a factor of e
    for every ``threshold_scale``.
    """

    posts_per_day: float
    dispersion: float
    threshold_base: float
    threshold_scale: float
    rate_at_base: float


@dataclass(frozen=True, slots=True)
class Prior:
    """The group's values. ``tiers`` ascend by ``posts_per_day``, each the tier's upper end (the last has none)."""

    version: str = "builtin-2"
    season: SeasonalProfile = field(default_factory=SeasonalProfile)
    negative_per_day: float = 2.0
    posts_per_day: float = 8.0
    negative_share: float = 0.25
    strength_days: float = 1.0
    tiers: tuple[Tier, ...] = (
        Tier(4.0, 0.5, 1.8, 0.6, 0.05),
        Tier(20.0, 0.4, 1.8, 0.6, 0.05),
        Tier(100.0, 0.3, 1.8, 0.6, 0.05),
        Tier(float(2**53), 0.3, 1.8, 0.6, 0.05),
    )

    def tier_of(self, posts_per_day: float) -> int:
        """Return the index of the tier for this volume."""
        index = 0
        for tier in self.tiers:
            if posts_per_day < tier.posts_per_day:
                return index
            index += 1
        return index - 1
