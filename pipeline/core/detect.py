"""The score of one moment: how surprising are the recent negatives, and their share, at two paces?

Each lane's score is ``mean over three windows of -log10 P(NB >= negatives) + 1/2 * -log10 P(BetaBin >= negatives)``, the
latter over its reference window. The mean over scales beat the maximum and every single window on NAB's tweet counts; the
share term is what finds spikes in busy entities; the slow lane (three hours to a day) is what sees thin ones at all.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import NamedTuple

from pipeline.core.baseline import Baseline, Expectation, expectation
from pipeline.core.detector_config import DetectorConfig, Flood, Lane, Support
from pipeline.core.panes import Pane
from pipeline.core.tails import count_tail, share_tail
from pipeline.core.thresholds import OwnRate, open_threshold
from pipeline.core.windows import PaneHistory, WindowSums
from pipeline.times import DAY_MS


class LaneView(NamedTuple):
    """What one lane sees. ``sums``, ``means`` and ``tails`` go by window; ``reference`` and ``reference_mean`` are one of them.

    ``supported``: enough different people said enough different things; ``firm``: enough for more than information.
    """

    lane: Lane
    sums: tuple[WindowSums, ...]
    means: tuple[float, ...]
    reference: WindowSums
    reference_mean: float
    dispersion: float
    tails: tuple[float, ...]
    share_tail: float
    score: float
    supported: bool
    firm: bool

    @property
    def lift(self) -> float:
        """Return observed over expected negatives in the reference window."""
        return self.reference.negative / self.reference_mean


class Assessment(NamedTuple):
    """What one moment looks like. ``leading`` is the lane that speaks: the supported one with the highest score.

    It is None where no lane has support and no incident is open: then the tails are not worth computing.
    """

    end_ms: int
    expected: Expectation
    dispersion: float
    cold: bool
    threshold: float
    leading: LaneView | None

    @property
    def score(self) -> float:
        """Return the leading lane's score, or 0 where no lane has enough support to judge."""
        return self.leading.score if self.leading is not None and self.leading.supported else 0.0


class Situation(NamedTuple):
    """One entity at one moment: its panes, and what is expected of it."""

    history: PaneHistory
    end_ms: int
    expected: Expectation
    dispersion: float
    cold: bool


class Known(NamedTuple):
    """What the past says of an entity, and whether an incident is open."""

    baseline: Baseline
    own_rate: OwnRate
    is_open: bool


def assess(history: PaneHistory, end_ms: int, known: Known, config: DetectorConfig) -> Assessment:
    """Return the assessment of the moment ``end_ms``, by when all panes end."""
    baseline = known.baseline
    expected = expectation(baseline, max(baseline.as_of_ms, end_ms - config.guard_ms), config)
    cold = expected.age_ms < config.cold_start_ms
    dispersion = expected.dispersion * (config.cold_dispersion if cold else 1.0)
    moment = Situation(history, end_ms, expected, dispersion, cold)
    views = [look(moment, lane, config) for lane in config.lanes if known.is_open or _is_supported(moment, lane, config)]
    leading = max(views, key=lambda view: (view.supported, view.score)) if views else None
    threshold = open_threshold(known.own_rate, config.prior.tiers[expected.tier], end_ms, config)
    return Assessment(end_ms, expected, dispersion, cold, threshold, leading)


def view_of(history: PaneHistory, seen: Assessment, config: DetectorConfig) -> LaneView:
    """Return the leading lane's view; where none has support, that of the loudest lane but for its share, or of the first."""
    if seen.leading is not None:
        return seen.leading
    moment = _situation(history, seen)
    views = [look(moment, lane, config) for lane in config.lanes if _has_support(moment, lane, config)]
    return max(views, key=lambda view: view.score) if views else look(moment, config.lanes[0], config)


def flood_view(history: PaneHistory, seen: Assessment, config: DetectorConfig) -> LaneView:
    """Return what the fastest lane sees, with the window in which floods are looked for as its reference window."""
    view, size_ms = look(_situation(history, seen), config.lanes[0], config), config.flood.window_ms
    return view._replace(lane=replace(view.lane, reference_ms=size_ms), reference=history.sums(seen.end_ms, size_ms))


def look(moment: Situation, lane: Lane, config: DetectorConfig) -> LaneView:
    """Return what one lane sees."""
    sums = tuple(moment.history.sums(moment.end_ms, size) for size in lane.windows_ms)
    means = tuple(_means(moment, lane.windows_ms, config))
    at = lane.windows_ms.index(lane.reference_ms)
    dispersion = max(moment.dispersion, lane.least_dispersion)
    tails, share, score = score_of(sums, at, means, moment.expected.share, dispersion, config)
    supported = _meets(moment, lane, lane.support, sums[at], means[at]) and _is_odd(share, moment.cold, config)
    firm = supported and _meets(moment, lane, lane.firm, sums[at], means[at])
    return LaneView(lane, sums, means, sums[at], means[at], dispersion, tails, share, score, supported, firm)


def all_views(history: PaneHistory, seen: Assessment, config: DetectorConfig) -> list[LaneView]:
    """Return what every lane sees, supported or not."""
    moment = _situation(history, seen)
    return [look(moment, lane, config) for lane in config.lanes]


def with_sums(view: LaneView, sums: tuple[WindowSums, ...], seen: Assessment, config: DetectorConfig) -> LaneView:
    """Return the view if its windows held only these sums of fewer posts; that enough authors spoke is granted.

    ``effective`` may be less than the true number of posts that are left, which is at most one less per negative post gone;
    where posts were left out of it, as copies or as an author's third, one of these takes the place of one that is gone.
    """
    at = view.lane.windows_ms.index(view.lane.reference_ms)
    tails, share, score = score_of(sums, at, view.means, seen.expected.share, view.dispersion, config)
    gone = 0 if view.reference.posts > view.reference.effective else ceil(view.reference.negative - sums[at].negative - 1e-9)
    posts = view.reference.effective - gone
    enough = _holds_enough(view.lane.support, seen.cold, posts, sums[at].negative, view.reference_mean)
    supported = view.supported and enough and _is_odd(share, seen.cold, config)
    return view._replace(sums=sums, reference=sums[at], tails=tails, share_tail=share, score=score, supported=supported)


def _situation(history: PaneHistory, seen: Assessment) -> Situation:
    return Situation(history, seen.end_ms, seen.expected, seen.dispersion, seen.cold)


def _means(moment: Situation, sizes_ms: Sequence[int], config: DetectorConfig) -> list[float]:
    """Return the expected negatives of the windows of these sizes that end now."""
    exposures = config.prior.season.exposures(sizes_ms, moment.end_ms)
    return [max(1e-6, moment.expected.negative_per_day * exposure / DAY_MS) for exposure in exposures]


def _is_supported(moment: Situation, lane: Lane, config: DetectorConfig) -> bool:
    """Return what ``look`` would say of the support, without the tails of the counts, which take longest."""
    if not _has_support(moment, lane, config):
        return False
    if not moment.cold:
        return True  # whatever the share, and its tail takes long too
    reference = moment.history.sums(moment.end_ms, lane.reference_ms)
    return _is_odd(_share_tail(reference, moment.expected.share, config), moment.cold, config)


def _share_tail(reference: WindowSums, expected_share: float, config: DetectorConfig) -> float:
    return share_tail(reference.negative, reference.effective, expected_share, config.share_strength)


def _has_support(moment: Situation, lane: Lane, config: DetectorConfig) -> bool:
    if moment.history.negative(moment.end_ms, lane.reference_ms) < lane.support.negative_mass:
        return False  # as nearly always, so this comes first
    reference = moment.history.sums(moment.end_ms, lane.reference_ms)
    (mean,) = _means(moment, (lane.reference_ms,), config)
    return _meets(moment, lane, lane.support, reference, mean)


def _meets(moment: Situation, lane: Lane, need: Support, reference: WindowSums, mean: float) -> bool:
    if not _holds_enough(need, moment.cold, reference.effective, reference.negative, mean):
        return False
    return moment.history.has_authors(need.authors, moment.end_ms, lane.reference_ms)


def _holds_enough(need: Support, cold: bool, posts: int, negative: float, mean: float) -> bool:
    """Return whether a reference window of so many effective posts and negatives, ``mean`` expected, holds what is needed.

    That enough different people spoke is asked beside.
    """
    least = need.posts_effective_cold if cold else need.posts_effective
    return posts >= least and negative >= max(need.negative_mass, need.lift * mean)


def _is_odd(share: float, cold: bool, config: DetectorConfig) -> bool:
    """Return whether the tail of the share lets a lane speak: while an entity is cold it must be unusual too."""
    return not cold or share >= config.cold_share_tail


def score_of(
    sums: Sequence[WindowSums],
    at: int,
    means: Sequence[float],
    expected_share: float,
    dispersion: float,
    config: DetectorConfig,
) -> tuple[tuple[float, ...], float, float]:
    """Return the tails of the counts by window, the tail of the share in window number ``at``, and the score of them all."""
    counts = tuple(count_tail(s.negative, mean, dispersion) for s, mean in zip(sums, means, strict=True))
    share = _share_tail(sums[at], expected_share, config)
    return counts, share, sum(counts) / len(counts) + config.share_weight * share


def is_flood(history: PaneHistory, end_ms: int, rules: Flood) -> bool:
    """Return whether one content or young accounts drown out everything else in the flood window."""
    if history.posts(end_ms, rules.window_ms) < rules.posts:
        return False
    whole = history.sums(end_ms, rules.window_ms)
    if whole.effective >= rules.max_variety * whole.posts:
        return False
    recent = history.recent(end_ms, rules.window_ms)
    young = sum(pane.young for pane in recent)
    return max(_times_said(recent).values()) > rules.top_share * whole.posts or young > rules.young_share * whole.posts


def is_one_voice(history: PaneHistory, end_ms: int, lane: Lane, rules: Flood) -> bool:
    """Return whether repeated contents hold most of what is negative in a lane's reference window, and the rest is not firm.

    An opening waits then: the first copies of a flood, of one text or of a few, are too few to be called one, and beside them
    two people are no second voice. Copies count by how negative they are, so that neutral ones hide nothing.
    """
    whole, recent = history.sums(end_ms, lane.reference_ms), history.recent(end_ms, lane.reference_ms)
    mood = {content.fingerprint: content.negative for pane in recent for content in pane.contents}
    said = _times_said(recent)
    repeated = [content for content, times in said.items() if times >= rules.copies]
    copied = sum(said[content] * mood[content] for content in repeated)
    if copied <= rules.top_share * sum(times * mood[content] for content, times in said.items()):
        return False
    other_mass = whole.negative - sum(mood[content] for content in repeated)
    return whole.effective - len(repeated) < lane.firm.posts_effective or other_mass < lane.firm.negative_mass


def _times_said(panes: Sequence[Pane]) -> dict[int, int]:
    times: dict[int, int] = {}
    for pane in panes:
        for content in pane.contents:
            times[content.fingerprint] = times.get(content.fingerprint, 0) + content.times
    return times
