"""What prices did around alerts, against the same entity's other days: an event study with placebo dates.

Abnormal returns are averaged over alerts by sessions since the alert. The placebo draws, for every alert, a session of the
same entity at random, many times over: what the mean does by chance. Posts of a session may come after the move: read it
as confirmation, not as prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.backtest.prices import Prices

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OFFSETS = tuple(range(-5, 6))
SAME_DAY = OFFSETS.index(0)
DRAWS = 1_000


@dataclass(frozen=True)
class EventStudy:
    """Mean abnormal return by offset, and the placebo's 5 % and 95 % quantiles; all (len(OFFSETS),).

    ``p_same_day`` is the share of placebo draws whose mean of the alert's own session is as low.
    """

    alerts: int
    mean: Floats
    placebo_low: Floats
    placebo_high: Floats
    p_same_day: float

    @property
    def mean_same_day(self) -> float:
        """Return the mean abnormal return of the alert's own session."""
        return float(self.mean[SAME_DAY])


def event_study(prices: Prices, alerts: Sequence[tuple[str, int]], span: tuple[int, int], seed: int) -> EventStudy | None:
    """Return the study of ``alerts`` (entity, event_time_ms), or None where none has a price in its session."""
    placed = [(prices.column(entity), prices.session_of(at_ms)) for entity, at_ms in alerts]
    priced = [(column, session) for column, session in placed if column >= 0 and session >= 0]
    known = [(column, session) for column, session in priced if not np.isnan(prices.abnormal[session, column])]
    if not known:
        return None
    columns, sessions = (np.array(part, dtype=np.int64) for part in zip(*known, strict=True))
    first, last = np.searchsorted(prices.closes_ms, span, side="right")
    rng = np.random.default_rng(seed)
    dates = rng.integers(first, max(first + 1, min(int(last), len(prices.closes_ms))), size=(DRAWS, len(columns)))
    placebo = np.array([_mean_path(prices.abnormal, columns, draw) for draw in dates])
    mean = _mean_path(prices.abnormal, columns, sessions)
    low, high = np.nanquantile(placebo, (0.05, 0.95), axis=0)
    p = float((1 + (placebo[:, SAME_DAY] <= mean[SAME_DAY]).sum()) / (1 + DRAWS))
    return EventStudy(len(columns), mean, low, high, p)


def _mean_path(abnormal: Floats, columns: Ints, sessions: Ints) -> Floats:
    """Return the mean over alerts by offset, (len(OFFSETS),); days without a price do not count."""
    rows = sessions[:, None] + np.array(OFFSETS)[None, :]
    inside = (rows >= 0) & (rows < len(abnormal))
    values = np.where(inside, abnormal[np.clip(rows, 0, len(abnormal) - 1), columns[:, None]], np.nan)
    known = ~np.isnan(values)
    mean: Floats = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return mean
