"""How many negative posts an alert needed: its window without the most negative ones, judged by the same rules.

Posts are counted as the alert counts them: by their probability of being negative, each content once. The most negative
ones are taken out first; the threshold and the posts outside the window stay as they are. So does what is expected, but
where the window is so long that its older posts are expected already: what is gone is then not expected either. Panes keep
sums only, so a pane's posts are taken as equally negative: that leaves at most the true number of posts. Nothing of this
gives less than the true score: what is found not to fire does not fire.
"""

from bisect import bisect_left
from collections.abc import Sequence
from math import floor
from typing import NamedTuple

from pipeline.core.detect import Assessment, LaneView, all_views, with_sums
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.panes import UNITS, Pane
from pipeline.core.windows import PaneHistory, WindowSums

PARTS = 4  # of a post: within each, as many negatives as it may hold are taken as left, and as gone as many as it may lack


class Remainder(NamedTuple):
    """A window of which no more than ``mass`` negative posts are left, in the history it was cut from."""

    history: PaneHistory
    end_ms: int
    size_ms: int
    mass: float

    def sums(self, size_ms: int) -> WindowSums:
        """Return the sums of another window that ends now: negatives at most, effective posts at least."""
        whole = self.history.sums(self.end_ms, size_ms)
        if size_ms <= self.size_ms:
            mass = min(whole.negative, self.mass)
            return whole._replace(negative=mass, effective=self._posts(whole, size_ms, mass))
        cut = self.history.sums(self.end_ms, self.size_ms)
        gone = cut.effective - self._posts(cut, self.size_ms, self.mass)
        return whole._replace(negative=whole.negative - cut.negative + self.mass, effective=whole.effective - gone)

    def _posts(self, whole: WindowSums, size_ms: int, mass: float) -> int:
        panes = self.history.between(self.end_ms - size_ms, self.end_ms)
        return whole.effective if mass >= whole.negative else posts_left(panes, mass)


def posts_left(panes: Sequence[Pane], mass: float) -> int:
    """Return how many effective posts are left when the most negative ones go until no more than ``mass`` is left."""
    posts = 0.0
    for pane in sorted((p for p in panes if p.effective), key=lambda p: p.negative / p.effective):
        if pane.negative > mass:
            return floor(posts + pane.effective * mass / pane.negative)
        posts += pane.effective
        mass -= pane.negative
    return floor(posts)


def would_not_fire_below(history: PaneHistory, seen: Assessment, view: LaneView, config: DetectorConfig) -> int | None:
    """Return the greatest k so that with fewer than k negative posts in the view's reference window nothing fires.

    None where nothing fires now, or where even without any negative post there something would.
    """
    if seen.score < seen.threshold:
        return None
    lanes, whole = all_views(history, seen, config), view.reference.negative
    expected_already = max(0.0, whole - history.negative(seen.end_ms, config.guard_ms))

    def fires_between(least: float, most: float) -> bool:
        left = Remainder(history, seen.end_ms, view.lane.reference_ms, min(most, whole))
        then = seen._replace(expected=seen.expected.without(min(whole - least, expected_already)))
        part = then.expected.negative_per_day / seen.expected.negative_per_day
        views = (with_sums(_scaled(each, part), tuple(map(left.sums, each.lane.windows_ms)), then, config) for each in lanes)
        return any(each.supported and each.score >= seen.threshold for each in views)

    def fires(k: int) -> bool:
        return any(fires_between(k - (n + 1) / PARTS, k - max(n / PARTS, 1 / UNITS)) for n in range(PARTS))

    numbers = range(1, floor(whole) + 1)
    if expected_already:  # fewer posts are also less expected, so one may fire below another that does not
        return next((k for k in numbers if fires(k)), len(numbers) + 1) - 1 or None
    return bisect_left(numbers, True, key=fires) or None


def _scaled(view: LaneView, part: float) -> LaneView:
    """Return the view with so much of what it expected."""
    means = tuple(max(1e-6, part * mean) for mean in view.means)
    return view._replace(means=means, reference_mean=means[view.lane.windows_ms.index(view.lane.reference_ms)])
