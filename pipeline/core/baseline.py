"""The long memory of an entity: how much it is usually talked about, how negatively, and how steadily.

Exponentially decayed sums with a half-life of days. Levels are ratios of decayed mass to decayed exposure, so that a gap of
weeks is one multiplication, and an entity hardly known leans on the prior of its group. Unusual panes are winsorised;
panes during an open alert do not count (``frozen``), and the last ``guard_ms`` never do. Source of the ideas: Farrington's
down-weighting of past outbreaks (Noufaily et al. 2013), reduced to a recursive form.
"""

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

from pipeline.core.decay import decayed
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.panes import Pane
from pipeline.core.trends import PANE_MS
from pipeline.times import DAY_MS


@dataclass(slots=True)
class Baseline:
    """Decayed sums as of ``as_of_ms``. Exposure is in days of mean activity; the share has its own denominator."""

    first_ms: int
    as_of_ms: int
    last_pane_ms: int
    negative: float = 0.0
    posts: float = 0.0
    exposure_days: float = 0.0

    def copy(self) -> "Baseline":
        """Return an independent copy."""
        return Baseline(self.first_ms, self.as_of_ms, self.last_pane_ms, self.negative, self.posts, self.exposure_days)


class Expectation(NamedTuple):
    """What an entity usually does. Rates per day of mean activity; multiply by the exposure of a window.

    ``weight_days`` and ``weight_posts``: what the rates and the share are means over, the prior's weight included.
    ``posts``: how many posts are remembered, each worth less by its age.
    """

    negative_per_day: float
    posts_per_day: float
    share: float
    dispersion: float
    tier: int
    age_ms: int
    weight_days: float
    weight_posts: float
    posts: float

    def without(self, negative: float) -> "Expectation":
        """Return what would at least be expected if no more than so many negatives, and their posts, were missing in the past."""
        per_day = max(0.0, self.negative_per_day - negative / self.weight_days)
        share = (self.share * self.weight_posts - negative) / max(1.0, self.weight_posts - negative)
        return self._replace(negative_per_day=per_day, share=_share(share))


def absorb(baseline: Baseline, pane: Pane, config: DetectorConfig) -> None:
    """Let one pane, now older than the guard, into the baseline; the quiet time before it counts as exposure."""
    if pane.start_ms - baseline.last_pane_ms > config.forget_gap_ms:
        baseline.first_ms = pane.start_ms - config.cold_start_ms
    _advance(baseline, pane.start_ms, config)
    if not pane.frozen:
        _count(baseline, pane, config)
    baseline.as_of_ms = pane.start_ms + PANE_MS
    baseline.last_pane_ms = pane.start_ms


def _count(baseline: Baseline, pane: Pane, config: DetectorConfig) -> None:
    exposure = config.prior.season.exposure(pane.start_ms, pane.start_ms + PANE_MS) / DAY_MS
    negative, posts = pane.negative, float(pane.effective)
    if posts > 1.0:  # one post, which most panes hold, is never cut: the limit lies above
        expected = _expected(baseline, pane.start_ms, (1.0, 0.0), config)
        negative = _winsorised(negative, expected.negative_per_day * exposure, expected, config)
        posts = _winsorised(posts, expected.posts_per_day * exposure, expected, config)
    baseline.negative += negative
    baseline.posts += posts
    baseline.exposure_days += exposure


def expectation(baseline: Baseline, at_ms: int, config: DetectorConfig) -> Expectation:
    """Return the expectation as of ``at_ms`` without changing anything: sums decay, the quiet time counts as exposure."""
    return _expected(baseline, at_ms, _quiet(baseline, at_ms, config), config)


def _expected(baseline: Baseline, at_ms: int, passed: tuple[float, float], config: DetectorConfig) -> Expectation:
    """Return the expectation; ``passed`` is what ``_quiet`` says of the time since the baseline's last pane."""
    prior, (decay, quiet) = config.prior, passed
    strength, kappa = prior.strength_days, config.share_strength
    negative, posts = baseline.negative * decay, baseline.posts * decay
    weight = baseline.exposure_days * decay + quiet + strength
    posts_per_day = (posts + prior.posts_per_day * strength) / weight
    tier = prior.tier_of(posts_per_day)
    return Expectation(
        (negative + prior.negative_per_day * strength) / weight,
        posts_per_day,
        _share((negative + kappa * prior.negative_share) / (posts + kappa)),
        prior.tiers[tier].dispersion,
        tier,
        _age(baseline, at_ms, config),
        weight,
        posts + kappa,
        posts,
    )


def _share(share: float) -> float:
    return min(max(share, 0.001), 0.999)


def _age(baseline: Baseline, at_ms: int, config: DetectorConfig) -> int:
    age = max(0, at_ms - baseline.first_ms)
    gone = at_ms - baseline.last_pane_ms > config.forget_gap_ms + config.guard_ms
    return min(age, config.cold_start_ms) if gone else age


def _quiet(baseline: Baseline, at_ms: int, config: DetectorConfig) -> tuple[float, float]:
    """Return (decay, decayed exposure in days) of the quiet time since the baseline's last pane."""
    duration = at_ms - baseline.as_of_ms
    if duration <= 0:
        return 1.0, 0.0
    decay, mean_decay = decayed(duration / config.half_life_ms)
    return decay, config.prior.season.exposure(baseline.as_of_ms, at_ms) / DAY_MS * mean_decay


def _advance(baseline: Baseline, at_ms: int, config: DetectorConfig) -> None:
    decay, quiet = _quiet(baseline, at_ms, config)
    baseline.negative *= decay
    baseline.posts *= decay
    baseline.exposure_days = baseline.exposure_days * decay + quiet
    baseline.as_of_ms = max(baseline.as_of_ms, at_ms)


def _winsorised(observed: float, mean: float, expected: Expectation, config: DetectorConfig) -> float:
    """Return the count, cut where it is unusual; before the entity is known nothing is."""
    if expected.age_ms < config.cold_start_ms:
        return observed
    limit = mean + config.winsor_sigmas * sqrt(mean + expected.dispersion * mean * mean) + 1.0
    return min(observed, limit)


def fresh(first_pane_ms: int) -> Baseline:
    """Return the baseline of an entity that spoke first in this pane."""
    return Baseline(first_ms=first_pane_ms, as_of_ms=first_pane_ms, last_pane_ms=first_pane_ms)
