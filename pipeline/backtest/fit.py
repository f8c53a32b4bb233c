"""What the training span teaches: the season, the usual level, share and dispersion, and how high scores get by chance.

The result is a ``Prior`` for ``DetectorConfig``. It takes two runs over the training span: one under the built-in prior for
the volumes, one under the fitted volumes for the scores. Nothing after the span is looked at.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pipeline.backtest.excess import TierScores, exceedance_law, tier_scores
from pipeline.backtest.run import run
from pipeline.backtest.tiers import DAY_MS, TIERS
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.prior import Prior, Tier
from pipeline.core.seasonality import SLOT_MS, SLOTS, SeasonalProfile
from pipeline.events import ScoredPost, Trend

Floats = npt.NDArray[np.float64]

HOUR_MS = 3_600_000
DAY_SLOTS = 48
WORKDAYS = 5
POOL_STRENGTH = 50.0  # posts' worth of trust in the pooled day against this weekday's own
SLOT_CAP = 5.0  # of one entity in one half-hour: a burst is no season
UNBOUNDED = float(2**53)
LEAST_DISPERSION = 0.02
MOST_DISPERSION = 2.0


def fit_prior(posts: Sequence[ScoredPost], span: tuple[int, int], config: DetectorConfig, timezone: str) -> Prior:
    """Return the prior that the posts before the end of ``span`` teach; posts before the span only warm up."""
    known = [post for post in posts if post.event_time_ms < span[1]]
    first = run(known, config)
    trends = latest(first.trends, span)
    if not trends:
        return config.prior
    volumes = _volumes(trends, span)
    season = fit_season(trends, timezone)
    prior = _levels(volumes, config.prior, season)
    bounds = _bounds([volume for volume, _ in volumes.values()])
    tier_of = {entity: _tier_index(volume, bounds) for entity, (volume, _) in volumes.items()}
    prior = replace(prior, tiers=_tiers(trends, volumes, tier_of, bounds, prior))
    second = run(known, replace(config, prior=prior))
    scores = tier_scores(latest(second.trends, span), tier_of, span, len(bounds) + 1)
    return replace(prior, version=_version(span), tiers=_with_laws(prior.tiers, scores, config))


def latest(trends: Iterable[Trend], span: tuple[int, int]) -> list[Trend]:
    """Return the last revision of each pane of the span, ascending by (time, entity)."""
    last: dict[tuple[int, str], Trend] = {}
    for trend in trends:
        if span[0] <= trend.window_start_ms < span[1]:
            last[trend.window_start_ms, trend.entity] = trend
    return [last[key] for key in sorted(last)]


def _version(span: tuple[int, int]) -> str:
    return f"fitted-{span[0]}-{span[1]}"


def _volumes(trends: Sequence[Trend], span: tuple[int, int]) -> dict[str, tuple[float, float]]:
    """Return (effective posts per day, negative mass per day) by entity."""
    days = (span[1] - span[0]) / DAY_MS
    totals: dict[str, list[float]] = {}
    for trend in trends:
        own = totals.setdefault(trend.entity, [0.0, 0.0])
        own[0] += trend.posts_effective
        own[1] += trend.negative_mass
    return {entity: (posts / days, negative / days) for entity, (posts, negative) in totals.items()}


def _levels(volumes: dict[str, tuple[float, float]], prior: Prior, season: SeasonalProfile) -> Prior:
    posts = np.array([volume for volume, _ in volumes.values()])
    negative = np.array([negative for _, negative in volumes.values()])
    return replace(
        prior,
        season=season,
        posts_per_day=float(np.median(posts)),
        negative_per_day=float(np.median(negative)),
        negative_share=float(np.clip(negative.sum() / max(posts.sum(), 1e-9), 0.01, 0.99)),
    )


def _bounds(volumes: Sequence[float]) -> tuple[float, ...]:
    """Return the upper ends, in posts per day, of all tiers but the last; ascending, without empty tiers."""
    return tuple(sorted({float(np.quantile(volumes, upper)) for _, upper in TIERS[:-1]}))


def _tier_index(volume: float, bounds: Sequence[float]) -> int:
    return int(np.searchsorted(bounds, volume, side="right"))


def fit_season(trends: Sequence[Trend], timezone: str) -> SeasonalProfile:
    """Return how busy each half-hour of the week is, pooled over entities: working days share one shape, and Saturday and
    Sunday another, as far as a weekday's own posts do not say otherwise.
    """
    counts = np.zeros(SLOTS)
    for (slot, _, _), posts in _slot_posts(trends, SeasonalProfile(timezone)).items():
        counts[slot] += min(posts, SLOT_CAP)
    days = counts.reshape(7, DAY_SLOTS)
    pooled = np.vstack([np.tile(days[:WORKDAYS].mean(axis=0), (WORKDAYS, 1)), np.tile(days[WORKDAYS:].mean(axis=0), (2, 1))])
    smooth = (np.roll(pooled, 1, axis=1) + 2.0 * pooled + np.roll(pooled, -1, axis=1)) / 4.0
    trust = days / (days + POOL_STRENGTH)
    factors = (trust * days + (1.0 - trust) * smooth).ravel() + 0.05 * counts.mean() + 1e-9
    return SeasonalProfile(timezone, tuple(float(value) for value in factors / factors.mean()))


def _slot_posts(trends: Sequence[Trend], profile: SeasonalProfile) -> dict[tuple[int, str, int], float]:
    """Return effective posts by (half-hour of the week, entity, half-hour since 1970)."""
    posts: dict[tuple[int, str, int], float] = {}
    for trend in trends:
        key = (profile.slot_of(trend.window_start_ms), trend.entity, trend.window_start_ms // SLOT_MS)
        posts[key] = posts.get(key, 0.0) + trend.posts_effective
    return posts


def _tiers(
    trends: Sequence[Trend],
    volumes: dict[str, tuple[float, float]],
    tier_of: dict[str, int],
    bounds: Sequence[float],
    prior: Prior,
) -> tuple[Tier, ...]:
    """Return the tiers with the dispersion of their hours, by moments: E (x - mean)^2 = mean + dispersion * mean^2.

    Summed over all hours, (x - mean)^2 is x^2 - 2 x mean over the hours with posts, and mean^2 over all.
    """
    excess = np.zeros(len(bounds) + 1)
    square = np.zeros(len(bounds) + 1)
    for entity, (_, negative) in volumes.items():
        means = _hourly_means(negative, prior.season, (trends[0].window_start_ms, trends[-1].window_end_ms))
        excess[tier_of[entity]] += float((means**2 - means).sum())
        square[tier_of[entity]] += float((means**2).sum())
    for (entity, hour), negative in _hours(trends).items():
        mean = volumes[entity][1] * prior.season.exposure(hour * HOUR_MS, (hour + 1) * HOUR_MS) / DAY_MS
        capped = min(negative, mean + 6.0 * (mean + mean * mean) ** 0.5 + 2.0)
        excess[tier_of[entity]] += capped * capped - 2.0 * capped * mean
    dispersion = np.clip(excess / np.maximum(square, 1e-9), LEAST_DISPERSION, MOST_DISPERSION)
    return tuple(Tier(end, float(phi), 1.5, 0.6, 0.05) for end, phi in zip([*bounds, UNBOUNDED], dispersion, strict=True))


def _hourly_means(negative_per_day: float, season: SeasonalProfile, span: tuple[int, int]) -> Floats:
    hours = (span[1] - span[0]) / HOUR_MS
    week = np.array(season.factors).reshape(-1, 2).mean(axis=1) if season.factors else np.ones(1)
    return np.resize(negative_per_day / 24.0 * week, max(1, round(hours)))


def _hours(trends: Sequence[Trend]) -> dict[tuple[str, int], float]:
    negative: dict[tuple[str, int], float] = {}
    for trend in trends:
        key = (trend.entity, trend.window_start_ms // HOUR_MS)
        negative[key] = negative.get(key, 0.0) + trend.negative_mass
    return negative


def _with_laws(tiers: Sequence[Tier], scores: Sequence[TierScores], config: DetectorConfig) -> tuple[Tier, ...]:
    laws = exceedance_law(scores, config.false_alerts_per_entity_day)
    return tuple(
        replace(tier, threshold_base=law.base, threshold_scale=law.scale, rate_at_base=law.rate)
        for tier, law in zip(tiers, laws, strict=True)
    )
