"""The panes of one entity in order, and the windows made of them: any window's sums are one subtraction of running totals."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from pipeline.core.packed_pane import PackedPane, packed, whole
from pipeline.core.panes import UNITS, ZERO, Pane, Totals
from pipeline.times import BEFORE_ALL_MS

OLD_AUTHORS = 8
THIN_AFTER_MS = 10_800_000
_LEFT_WHOLE = 8  # of the thinned panes: an entity with so few of them is small already


def thinned(pane: Pane) -> Pane:
    """Return an old pane with its most negative content and a few authors only; its sums stay whole."""
    if len(pane.contents) <= 1 and len(pane.authors) <= OLD_AUTHORS:
        return pane  # small already, or thinned before
    worst = max(pane.contents, key=lambda content: (content.times * content.negative, content.fingerprint))
    return replace(pane, contents=(worst,), authors=pane.authors[:OLD_AUTHORS])


class WindowSums(NamedTuple):
    """Sums over the panes of one window."""

    posts: int
    effective: int
    negative: float
    positive: float


class PaneHistory:
    """The panes of one entity, ascending; sparse, for a pane without posts does not exist. The oldest ones are packed."""

    __slots__ = ("_base", "_packed", "_panes", "_starts", "_thin_ms")

    def __init__(self, base: Totals = ZERO, packed: Iterable[PackedPane] = (), panes: Iterable[Pane] = ()) -> None:
        """Take the totals before the first pane that is kept, and the panes: first those that are packed."""
        self._base = base
        self._panes: list[Pane | PackedPane] = list(packed)
        self._packed = len(self._panes)
        self._panes += panes
        self._starts = [pane.start_ms for pane in self._panes]
        self._thin_ms = self._starts[self._packed - 1] + 1 if self._packed else 0

    @property
    def panes(self) -> list[Pane]:
        """Return all panes."""
        return [whole(pane) for pane in self._panes]

    @property
    def packed(self) -> list[PackedPane]:
        """Return the panes that are packed, as they are."""
        return [pane for pane in self._panes if isinstance(pane, PackedPane)]

    @property
    def unpacked(self) -> list[Pane]:
        """Return the panes after them, which are not."""
        return [pane for pane in self._panes if isinstance(pane, Pane)]

    @property
    def newest(self) -> Pane:
        """Return the newest pane."""
        return whole(self._panes[-1])

    @property
    def newest_ms(self) -> int:
        """Return the start of the newest pane, or long ago where there is none."""
        return self._starts[-1] if self._starts else BEFORE_ALL_MS

    @property
    def base(self) -> Totals:
        """Return the totals of everything before the first pane that is kept."""
        return self._base

    @property
    def totals(self) -> Totals:
        """Return the totals up to now."""
        return self._panes[-1].through if self._panes else self._base

    def append(self, pane: Pane) -> None:
        """Add the newest pane."""
        self._panes.append(pane)
        self._starts.append(pane.start_ms)

    def since(self, time_ms: int) -> int:
        """Return the index of the first pane that starts at or after ``time_ms``."""
        return bisect_left(self._starts, time_ms)

    def between(self, from_ms: int, last_ms: int) -> list[Pane]:
        """Return the panes that start at or after ``from_ms``, but not after ``last_ms``."""
        return [whole(pane) for pane in self._panes[bisect_left(self._starts, from_ms) : bisect_right(self._starts, last_ms)]]

    def cut_from(self, time_ms: int) -> None:
        """Forget the panes that start at or after ``time_ms``."""
        at = self.since(time_ms)
        del self._panes[at:], self._starts[at:]
        self._packed = min(self._packed, at)

    def forget_before(self, time_ms: int) -> None:
        """Forget the panes that start before ``time_ms``."""
        at = self.since(time_ms)
        if at > 0:
            self._base = self._panes[at - 1].through
            del self._panes[:at], self._starts[:at]
            self._packed = max(0, self._packed - at)

    def thin_before(self, time_ms: int) -> None:
        """Keep of the panes that start before ``time_ms`` only what ``thinned`` leaves."""
        if time_ms > self._thin_ms:
            end = bisect_left(self._starts, time_ms)
            for at in range(bisect_left(self._starts, self._thin_ms), end):
                self._panes[at] = thinned(whole(self._panes[at]))
            self._thin_ms = time_ms
            for at in range(self._packed, end - _LEFT_WHOLE):
                self._panes[at] = packed(whole(self._panes[at]))
            self._packed = max(self._packed, end - _LEFT_WHOLE)

    def sums(self, end_ms: int, size_ms: int) -> WindowSums:
        """Return the sums over [end - size, end); no pane may start at or after ``end_ms``."""
        at = bisect_left(self._starts, end_ms - size_ms)
        if at == len(self._panes):
            return EMPTY
        posts, effective, negative, positive = self._panes[at - 1].through if at > 0 else self._base
        now = self._panes[-1].through
        return WindowSums(now[0] - posts, now[1] - effective, (now[2] - negative) / UNITS, (now[3] - positive) / UNITS)

    def posts(self, end_ms: int, size_ms: int) -> int:
        """Return ``sums(end_ms, size_ms).posts``."""
        at = bisect_left(self._starts, end_ms - size_ms)
        return self.totals.posts - (self._panes[at - 1].through if at > 0 else self._base).posts

    def negative(self, end_ms: int, size_ms: int) -> float:
        """Return ``sums(end_ms, size_ms).negative``."""
        at = bisect_left(self._starts, end_ms - size_ms)
        return (self.totals.negative - (self._panes[at - 1].through if at > 0 else self._base).negative) / UNITS

    def recent(self, end_ms: int, size_ms: int) -> list[Pane]:
        """Return the panes of [end - size, end), ascending; of those older than THIN_AFTER_MS only what ``thinned`` leaves."""
        oldest_whole_ms = end_ms - THIN_AFTER_MS
        return [
            pane if pane.start_ms >= oldest_whole_ms else thinned(pane)
            for pane in map(whole, self._panes[self.since(end_ms - size_ms) :])
        ]

    def has_authors(self, least: int, end_ms: int, size_ms: int) -> bool:
        """Return whether the window has that many different authors; of old panes only those count that ``thinned`` leaves."""
        whole_ms = end_ms - THIN_AFTER_MS
        found: set[int] = set()
        for at in range(len(self._panes) - 1, self.since(end_ms - size_ms) - 1, -1):
            authors = self._panes[at].authors
            found.update(authors if self._starts[at] >= whole_ms else authors[:OLD_AUTHORS])
            if len(found) >= least:
                return True
        return False


EMPTY = WindowSums(0, 0, 0.0, 0.0)
