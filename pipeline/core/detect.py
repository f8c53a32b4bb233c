"""The score of one moment: how surprising are the recent negatives, and their share, at two paces?

Each lane's score is ``mean over three windows of -log10 P(NB >= negatives) + 1/2 * -log10 P(BetaBin >= negatives)``, the
latter over its reference window. The mean over scales beat the maximum and every single window on NAB's tweet counts; the
share term is what finds spikes in busy entities; the slow lane (an hour to a day) is what sees thin ones at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from pipeline.core.baseline import Baseline, Expectation, expectation
from pipeline.core.detector_config import DAY_MS, DetectorConfig, Flood, Lane
from pipeline.core.tails import count_tail, share_tail
from pipeline.core.windows import Pane, WindowSums, recent_panes, window_sums


@dataclass(frozen=True, slots=True)
class LaneView:
    """What one lane sees. ``sums``, ``means`` and ``tails`` go by window; ``reference`` and ``reference_mean`` are one of them.

    ``supported``: enough different people said enough different things. Without support the tails are not worth computing
    (they are 0) unless an incident is open.
    """

    lane: Lane
    sums: tuple[WindowSums, ...]
    means: tuple[float, ...]
    reference: WindowSums
    reference_mean: float
    tails: tuple[float, ...]
    share_tail: float
    score: float
    supported: bool

    @property
    def lift(self) -> float:
        """Return observed over expected negatives in the reference window."""
        return self.reference.negative / self.reference_mean


@dataclass(frozen=True, slots=True)
class Assessment:
    """What one moment looks like. ``leading`` is the lane that speaks: the supported one with the highest score."""

    end_ms: int
    expected: Expectation
    dispersion: float
    cold: bool
    threshold: float
    leading: LaneView

    @property
    def score(self) -> float:
        """Return the leading lane's score, or 0 where no lane has enough support to judge."""
        return self.leading.score if self.leading.supported else 0.0


@dataclass(frozen=True, slots=True)
class _Moment:
    panes: Sequence[Pane]
    end_ms: int
    expected: Expectation
    dispersion: float
    cold: bool
    is_open: bool


def assess(panes: Sequence[Pane], end_ms: int, baseline: Baseline, is_open: bool, config: DetectorConfig) -> Assessment:
    """Return the assessment of the moment ``end_ms``; ``panes`` ascend and end by then. ``is_open``: an alert is."""
    expected = expectation(baseline, max(baseline.as_of_ms, end_ms - config.guard_ms), config)
    cold = expected.age_ms < config.cold_start_ms
    dispersion = expected.dispersion * (config.cold_dispersion if cold else 1.0)
    moment = _Moment(panes, end_ms, expected, dispersion, cold, is_open)
    views = [_look(moment, lane, config) for lane in config.lanes]
    leading = max(views, key=lambda view: (view.supported, view.score))
    return Assessment(end_ms, expected, dispersion, cold, open_threshold(expected.tier, config), leading)


def _look(moment: _Moment, lane: Lane, config: DetectorConfig) -> LaneView:
    end_ms, season = moment.end_ms, config.prior.season
    sums = tuple(window_sums(moment.panes, end_ms, size) for size in lane.windows_ms)
    per_ms = moment.expected.negative_per_day / DAY_MS
    means = tuple(max(1e-6, per_ms * season.exposure(end_ms - size, end_ms)) for size in lane.windows_ms)
    at = lane.windows_ms.index(lane.reference_ms)
    supported = _has_support(moment, lane, sums[at], means[at])
    if not supported and not moment.is_open:
        return LaneView(lane, sums, means, sums[at], means[at], (0.0,) * len(sums), 0.0, 0.0, False)
    tails, share, score = _tails(sums, at, means, moment.expected, moment.dispersion, config)
    return LaneView(lane, sums, means, sums[at], means[at], tails, share, score, supported)


def _has_support(moment: _Moment, lane: Lane, reference: WindowSums, mean: float) -> bool:
    need = lane.support
    least = need.posts_effective_cold if moment.cold else need.posts_effective
    if reference.negative < max(need.negative_mass, need.lift * mean) or reference.effective < least:
        return False
    return count_authors(moment.panes, moment.end_ms, lane.reference_ms) >= need.authors


def _tails(
    sums: Sequence[WindowSums],
    at: int,
    means: Sequence[float],
    expected: Expectation,
    dispersion: float,
    config: DetectorConfig,
) -> tuple[tuple[float, ...], float, float]:
    counts = tuple(count_tail(s.negative, mean, dispersion) for s, mean in zip(sums, means, strict=True))
    share = share_tail(sums[at].negative, sums[at].effective, expected.share, config.share_strength)
    return counts, share, sum(counts) / len(counts) + config.share_weight * share


def without_negatives(assessment: Assessment, removed: float, config: DetectorConfig) -> float:
    """Return the leading lane's score if ``removed`` of its negative posts had not been written."""
    view = assessment.leading
    sums = [
        WindowSums(s.posts, max(0, round(s.effective - removed)), max(0.0, s.negative - removed), s.positive) for s in view.sums
    ]
    at = view.lane.windows_ms.index(view.lane.reference_ms)
    return _tails(sums, at, view.means, assessment.expected, assessment.dispersion, config)[2]


def open_threshold(tier: int, config: DetectorConfig) -> float:
    """Return the score that the tier exceeds ``false_alerts_per_entity_day`` times per day (exponential tail)."""
    law = config.prior.tiers[tier]
    return law.threshold_base + law.threshold_scale * max(0.0, log(law.rate_at_base / config.false_alerts_per_entity_day))


def count_authors(panes: Sequence[Pane], end_ms: int, size_ms: int) -> int:
    """Return the number of different authors in the window; of old panes only the few that are kept."""
    return len({author for pane in recent_panes(panes, end_ms, size_ms) for author in pane.authors})


def is_flood(panes: Sequence[Pane], end_ms: int, rules: Flood) -> bool:
    """Return whether one content or young accounts drown out everything else in the flood window."""
    whole = window_sums(panes, end_ms, rules.window_ms)
    if whole.posts < rules.posts or whole.effective >= rules.max_variety * whole.posts:
        return False
    counts: dict[int, int] = {}
    young = 0
    for pane in recent_panes(panes, end_ms, rules.window_ms):
        young += pane.young
        for content in pane.contents:
            counts[content.fingerprint] = counts.get(content.fingerprint, 0) + content.times
    return max(counts.values()) > rules.top_share * whole.posts or young > rules.young_share * whole.posts
