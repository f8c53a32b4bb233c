"""The score of one moment: how surprising are the negatives of the last 15, 60 and 180 minutes, and their share?

``S = mean over windows of -log10 P(NB >= negatives) + 1/2 * -log10 P(BetaBin >= negatives of the hour)``. The mean over
scales beat the maximum and every single window on NAB's tweet counts; the share term is what finds spikes in busy entities.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from pipeline.core.baseline import Baseline, Expectation, expectation, is_cold
from pipeline.core.detector_config import DAY_MS, DetectorConfig
from pipeline.core.tails import count_tail, share_tail
from pipeline.core.windows import Pane, WindowSums, panes_within, window_sums

COLD_DISPERSION = 1.5


@dataclass(frozen=True, slots=True)
class Assessment:
    """What one moment looks like. ``sums``, ``means`` and ``tails`` go by window; the second window is the reference."""

    end_ms: int
    sums: tuple[WindowSums, ...]
    means: tuple[float, ...]
    tails: tuple[float, ...]
    share_tail: float
    score: float
    threshold: float
    expected: Expectation
    dispersion: float
    cold: bool

    @property
    def hour(self) -> WindowSums:
        """Return the sums of the reference window."""
        return self.sums[1]

    @property
    def lift(self) -> float:
        """Return observed over expected negatives in the reference window."""
        return self.hour.negative / max(self.means[1], 1e-9)


def assess(panes: Sequence[Pane], end_ms: int, baseline: Baseline, config: DetectorConfig) -> Assessment:
    """Return the assessment of the moment ``end_ms``; ``panes`` ascend and end by then."""
    expected = expectation(baseline, max(baseline.as_of_ms, end_ms - config.guard_ms), config)
    season = config.prior.season
    cold = is_cold(expected, config)
    dispersion = expected.dispersion * (COLD_DISPERSION if cold else 1.0)
    sums = window_sums(panes, end_ms, config.windows_ms)
    means = tuple(
        max(1e-6, expected.negative_per_day * season.exposure(end_ms - size, end_ms) / DAY_MS) for size in config.windows_ms
    )
    tails, share = _tails(sums, means, dispersion, expected, config)
    score = sum(tails) / len(tails) + config.share_weight * share
    threshold = open_threshold(expected.tier, config)
    return Assessment(end_ms, tuple(sums), means, tails, share, score, threshold, expected, dispersion, cold)


def _tails(
    sums: Sequence[WindowSums], means: Sequence[float], dispersion: float, expected: Expectation, config: DetectorConfig
) -> tuple[tuple[float, ...], float]:
    counts = tuple(count_tail(s.negative, mean, dispersion) for s, mean in zip(sums, means, strict=True))
    return counts, share_tail(sums[1].negative, sums[1].effective, expected.share, config.share_strength)


def without_negatives(assessment: Assessment, removed: float, config: DetectorConfig) -> float:
    """Return the score if ``removed`` negative posts had not been written."""
    sums = [
        WindowSums(s.posts, max(0.0, s.effective - removed), max(0.0, s.negative - removed), s.positive) for s in assessment.sums
    ]
    counts, share = _tails(sums, assessment.means, assessment.dispersion, assessment.expected, config)
    return sum(counts) / len(counts) + config.share_weight * share


def open_threshold(tier: int, config: DetectorConfig) -> float:
    """Return the score that the group's tier exceeds on ``false_alerts_per_entity_day`` of its days (exponential tail)."""
    law = config.prior.tiers[tier]
    return law.threshold_base + law.threshold_scale * max(0.0, log(law.rate_at_base / config.false_alerts_per_entity_day))


def has_support(assessment: Assessment, panes: Sequence[Pane], config: DetectorConfig) -> bool:
    """Return whether enough different people said enough different things for anyone to be alerted at all."""
    need, hour = config.support, assessment.hour
    least = need.posts_effective_cold if assessment.cold else need.posts_effective
    if hour.negative < need.negative_mass or hour.effective < max(least, need.clusters) or assessment.lift < need.lift:
        return False
    return count_authors(panes, assessment.end_ms, config.windows_ms[1]) >= need.authors


def count_authors(panes: Sequence[Pane], end_ms: int, size_ms: int) -> int:
    """Return the number of different authors in the window."""
    return len({author for pane in panes_within(panes, end_ms, size_ms) for author in pane.authors})


def is_flood(panes: Sequence[Pane], end_ms: int, config: DetectorConfig) -> bool:
    """Return whether one content or young accounts drown out everything else in the reference window."""
    rules = config.flood
    recent = panes_within(panes, end_ms, config.windows_ms[1])
    posts = sum(pane.posts for pane in recent)
    if posts < rules.posts or sum(pane.effective for pane in recent) >= rules.max_variety * posts:
        return False
    counts: dict[int, int] = {}
    for pane in recent:
        for content in pane.contents:
            counts[content.fingerprint] = counts.get(content.fingerprint, 0) + content.times
    young = sum(pane.young for pane in recent)
    return max(counts.values()) > rules.top_share * posts or young > rules.young_share * posts
