"""The numbers of a picture: panes on a regular time grid, sums over a sliding window, and the band that was expected."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from pipeline.core.trends import PANE_MS
from pipeline.events import Alert, Trend, WindowEvidence
from pipeline.times import DAY_MS, HOUR_MS, MINUTE_MS

BEFORE_WINDOWS, AFTER_WINDOWS = 14, 4
LEAST_POSTS: Final = 3  # below, a share says nothing

Numbers = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Chart:
    """The panes of one entity in [since_ms, until_ms), and those of one window before, in time order."""

    trends: tuple[Trend, ...]
    alerts: tuple[Alert, ...]
    window: WindowEvidence
    since_ms: int
    until_ms: int

    @classmethod
    def around(cls, strongest: Alert, window: WindowEvidence, trends: Sequence[Trend], alerts: Sequence[Alert]) -> Self:
        """Cut to the time from 14 windows before an incident to 4 windows after its last step, on whole panes."""
        size = max(PANE_MS, window.size_ms)
        last = max(alert.event_time_ms for alert in alerts if alert.alert_id == strongest.alert_id)
        since, until = strongest.starts_at_ms - BEFORE_WINDOWS * size, last + AFTER_WINDOWS * size
        since, until = since // HOUR_MS * HOUR_MS, until // HOUR_MS * HOUR_MS + HOUR_MS
        shown = tuple(trend for trend in trends if since - size <= trend.window_start_ms < until)
        told = tuple(alert for alert in alerts if since <= alert.event_time_ms <= until)
        return cls(shown, told, window, since, until)

    @property
    def window_ms(self) -> int:
        """Return the size of the sliding window."""
        return max(PANE_MS, self.window.size_ms)

    @property
    def bin_ms(self) -> int:
        """Return the width of a bar: a quarter of the window."""
        return max(PANE_MS, self.window_ms // 4)

    @property
    def bins_ms(self) -> Times:
        """Return the beginning of every bar."""
        return np.arange(self.since_ms, self.until_ms, self.bin_ms, dtype=np.int64)

    @property
    def grid_ms(self) -> Times:
        """Return the ends of the sliding windows, a twelfth of a window apart."""
        step = max(PANE_MS, self.window_ms // 12)
        return np.arange(self.since_ms, self.until_ms + step, step, dtype=np.int64)

    def binned(self, field: str) -> Numbers:
        """Return the sums of a field of the panes by bar."""
        edges = np.append(self.bins_ms, self.bins_ms[-1] + self.bin_ms)
        sums, _ = np.histogram(self._starts(), bins=edges, weights=self._values(field))
        return np.asarray(sums, dtype=np.float64)

    def within(self, field: str) -> Numbers:
        """Return the sums of a field over the window that ends at each point of the grid."""
        totals = np.concatenate([[0.0], np.cumsum(self._values(field))])
        ends = self._starts() + PANE_MS
        upper = np.searchsorted(ends, self.grid_ms, side="right")
        lower = np.searchsorted(ends, self.grid_ms - self.window_ms, side="right")
        return np.asarray(totals[upper] - totals[lower], dtype=np.float64)

    def share_percent(self) -> Numbers:
        """Return the share of negative posts at each point of the grid; not a number where there are too few posts."""
        whole = self.within("posts_effective")
        enough = whole >= LEAST_POSTS
        return np.where(enough, 100 * np.minimum(1.0, self.within("negative_mass") / np.where(enough, whole, 1.0)), np.nan)

    def band(self) -> tuple[Numbers, Numbers, Numbers]:
        """Return low, expected and high at each point of the grid.

        The alert's own band of its window, raised and lowered with what each pane expected (the daily season).
        """
        band = self.window.band
        if not self.trends:
            flat = np.ones(len(self.grid_ms))
            return band.low * flat, band.expected * flat, band.high * flat
        expected = np.array([trend.band.expected for trend in self.trends], dtype=np.float64)
        usual = np.interp(self.grid_ms, self._starts() + PANE_MS, expected) * self.window_ms / PANE_MS
        scale = usual / max(band.expected, 1e-9)
        return band.low * scale, usual, band.high * scale

    def _starts(self) -> Times:
        return np.array([trend.window_start_ms for trend in self.trends], dtype=np.int64)

    def _values(self, field: str) -> Numbers:
        return np.array([getattr(trend, field) for trend in self.trends], dtype=np.float64)


def days(milliseconds: npt.NDArray[np.number]) -> Numbers:
    """Return what matplotlib's date axes count: days since 1970."""
    return np.asarray(milliseconds, dtype=np.float64) / DAY_MS


def span(milliseconds: int) -> str:
    """Return a length of time in words."""
    minutes = milliseconds // MINUTE_MS
    return f"{minutes // 60} hours" if minutes > 120 and minutes % 60 == 0 else f"{minutes} minutes"
