"""What the training span teaches: the season, the usual level, share and dispersion, and how high scores get by chance.

The result is a ``Prior`` for ``DetectorConfig``. Nothing after the span is looked at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.backtest.excess import TierScores, exceedance_law, tier_scores
from pipeline.backtest.prepared import Posts
from pipeline.backtest.sharded import prepare_here
from pipeline.backtest.tiers import TIERS
from pipeline.backtest.volumes import Volume, week_counts
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.prior import Prior, Tier
from pipeline.core.seasonality import SeasonalProfile
from pipeline.events import ScoredPost
from pipeline.times import DAY_MS, HOUR_MS

DAY_SLOTS = 48
WORKDAYS = 5
DAYS_OF_WEEK = 7
POOL_STRENGTH = 50.0  # posts' worth of trust in the pooled day against this weekday's own
SLOT_CAP = 5.0
UNBOUNDED = float(2**53)
LEAST_DISPERSION = 0.02
MOST_DISPERSION = 2.0
LEAST_WARM = 0.5


def fit_prior(posts: Sequence[ScoredPost], span: tuple[int, int], config: DetectorConfig, timezone: str) -> Prior:
    """Return the prior that posts before the end of ``span`` teach, in event-time order; those before the span only warm up."""
    return fit_prepared(prepare_here(posts), span, config, timezone)


def fit_prepared(posts: Posts, span: tuple[int, int], config: DetectorConfig, timezone: str) -> Prior:
    """Return what ``fit_prior`` does."""
    found = posts.volumes(span, config)
    if not found:
        return config.prior
    days = (span[1] - span[0]) / DAY_MS
    per_day = {entity: volume.posts / days for entity, volume in found.items()}
    seen_all_week = days >= DAYS_OF_WEEK  # a weekday that was not seen would be taken for a silent one
    season = fit_season(week_counts(found.values(), timezone, SLOT_CAP), timezone) if seen_all_week else config.prior.season
    prior = replace(_levels(found, days, config.prior), season=season)
    bounds = _bounds(list(per_day.values()))
    tier_of = {entity: int(np.searchsorted(bounds, volume, side="right")) for entity, volume in per_day.items()}
    prior = replace(prior, tiers=_tiers(found, tier_of, bounds, season, span))
    judged = posts.judge(replace(config, prior=prior), span[1]).scores
    scores = tier_scores(judged, tier_of, span, len(bounds) + 1, config.cold_start_ms)
    return replace(prior, version=f"fitted-{span[0]}-{span[1]}", tiers=_with_laws(prior.tiers, scores, config))


def fit_season(counts: Sequence[float], timezone: str) -> SeasonalProfile:
    """Return how busy each half-hour of the week is, with mean 1; ``counts``: (336,) posts.

    Working days share one shape, and Saturday and Sunday another, as far as a weekday's own posts do not say otherwise.
    """
    days = np.array(counts, dtype=np.float64).reshape(7, DAY_SLOTS)
    pooled = np.vstack([np.tile(days[:WORKDAYS].mean(axis=0), (WORKDAYS, 1)), np.tile(days[WORKDAYS:].mean(axis=0), (2, 1))])
    smooth = (np.roll(pooled, 1, axis=1) + 2.0 * pooled + np.roll(pooled, -1, axis=1)) / 4.0
    trust = days / (days + POOL_STRENGTH)
    factors = (trust * days + (1.0 - trust) * smooth).ravel() + 0.05 * days.mean() + 1e-9
    return SeasonalProfile(timezone, tuple(float(value) for value in factors / factors.mean()))


def _levels(found: Mapping[str, Volume], days: float, prior: Prior) -> Prior:
    posts = np.array([volume.posts for volume in found.values()])
    negative = np.array([volume.negative for volume in found.values()])
    return replace(
        prior,
        posts_per_day=float(np.median(posts)) / days,
        negative_per_day=float(np.median(negative)) / days,
        negative_share=float(np.clip(negative.sum() / posts.sum(), 0.01, 0.99)),
    )


def _bounds(volumes_per_day: Sequence[float]) -> tuple[float, ...]:
    """Return the upper ends, in posts per day, of all tiers but the last; ascending, without empty tiers."""
    return tuple(sorted({float(np.quantile(volumes_per_day, upper)) for _, upper in TIERS[:-1]}))


def _tiers(
    found: Mapping[str, Volume],
    tier_of: Mapping[str, int],
    bounds: Sequence[float],
    season: SeasonalProfile,
    span: tuple[int, int],
) -> tuple[Tier, ...]:
    """Return the tiers with the dispersion of their hours, by moments: E (x - mean)^2 = mean + dispersion * mean^2.

    Summed over all hours, (x - mean)^2 is x^2 - 2 x mean over the hours with posts, and mean^2 over all.
    """
    excess = np.zeros(len(bounds) + 1)
    square = np.zeros(len(bounds) + 1)
    days = (span[1] - span[0]) / DAY_MS
    week = np.array(season.factors).reshape(-1, 2).mean(axis=1)
    for entity, volume in found.items():
        rate = volume.negative / days
        means = np.resize(rate / 24.0 * week, max(1, round(days * 24)))
        excess[tier_of[entity]] += float((means**2 - means).sum()) + _surplus(volume, rate, season)
        square[tier_of[entity]] += float((means**2).sum())
    dispersion = np.clip(excess / np.maximum(square, 1e-9), LEAST_DISPERSION, MOST_DISPERSION)
    built_in = Prior().tiers[0]
    ends = [*bounds, UNBOUNDED]
    return tuple(replace(built_in, posts_per_day=end, dispersion=float(phi)) for end, phi in zip(ends, dispersion, strict=True))


def _surplus(volume: Volume, negative_per_day: float, season: SeasonalProfile) -> float:
    total = 0.0
    for hour, negative in volume.hours.items():
        mean = negative_per_day * season.exposure(hour * HOUR_MS, (hour + 1) * HOUR_MS) / DAY_MS
        capped = min(negative, mean + 6.0 * (mean + mean * mean) ** 0.5 + 2.0)
        total += capped * capped - 2.0 * capped * mean
    return total


def _with_laws(tiers: Sequence[Tier], scores: Sequence[TierScores], config: DetectorConfig) -> tuple[Tier, ...]:
    """Return the tiers with their laws; one that was mostly young in the span keeps the law, and its dispersion, from before.

    Cold starts raise the bar, so scores say little there of how high they get without: a law of them promises far too much.
    """
    laws = exceedance_law(scores, config.false_alerts_per_entity_day, config.lifecycle.cooldown_ms)
    return tuple(
        replace(tier, threshold_base=law.base, threshold_scale=law.scale, rate_at_base=law.rate)
        if found.warm_days >= LEAST_WARM * found.entity_days
        else _as_before(tier, config.prior)
        for tier, law, found in zip(tiers, laws, scores, strict=True)
    )


def _as_before(tier: Tier, prior: Prior) -> Tier:
    return replace(prior.tiers[prior.tier_of(tier.posts_per_day)], posts_per_day=tier.posts_per_day)
