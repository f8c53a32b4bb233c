"""The pooled seasonal profile: how busy each half-hour of the week is in exchange time, relative to the mean."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from pipeline.times import DAY_MS, HOUR_MS, MINUTE_MS

SLOT_MS = 30 * MINUTE_MS
SLOTS = 7 * 48
WEEK_MS = SLOTS * SLOT_MS
_EPOCH_TO_MONDAY_MS = 4 * DAY_MS  # 1970-01-01 was a Thursday: 1970-01-05 is the first Monday
_QUARTER_MS = 15 * MINUTE_MS  # no zone's offset ends within a quarter of an hour


def offset_ms(timezone: str, hour: int) -> int:
    """Return how far the local clock is ahead of UTC in this hour since 1970, in milliseconds; negative where it is behind."""
    if timezone == "UTC":
        return 0
    moment = datetime.fromtimestamp(hour * 3600, UTC).astimezone(ZoneInfo(timezone))
    offset = moment.utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1000)


@lru_cache(maxsize=65_536)  # nearly two years: a backtest goes through its year entity by entity
def _slot_at(timezone: str, quarter: int) -> tuple[int, int, int, int]:
    """Return (weeks since the first Monday, half-hour of the week, its beginning, offset) of a quarter of an hour since 1970."""
    time_ms = quarter * _QUARTER_MS
    ahead_ms = offset_ms(timezone, time_ms // HOUR_MS)
    local_ms = time_ms + ahead_ms - _EPOCH_TO_MONDAY_MS
    slots = local_ms // SLOT_MS
    return slots // SLOTS, slots % SLOTS, time_ms - local_ms % SLOT_MS, ahead_ms


@dataclass(frozen=True, slots=True)
class SeasonalProfile:
    """``factors``: 336 half-hours from Monday 00:00 in ``timezone``, with mean 1; or empty for a flat profile."""

    timezone: str = "UTC"
    factors: tuple[float, ...] = ()
    _until: tuple[float, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        until = [0.0]
        for factor in self.factors:
            until.append(until[-1] + factor)
        object.__setattr__(self, "_until", tuple(until))

    def exposure(self, from_ms: int, to_ms: int) -> float:
        """Return the integral of the profile over [from_ms, to_ms), in milliseconds of mean activity."""
        if not self.factors or to_ms - from_ms > 8 * WEEK_MS:
            return float(to_ms - from_ms)
        return self._between(from_ms, to_ms, *self._since_monday(to_ms))

    def exposures(self, sizes_ms: Iterable[int], end_ms: int) -> list[float]:
        """Return ``exposure(end_ms - size, end_ms)`` of each size, none longer than eight weeks."""
        if not self.factors:
            return [float(size) for size in sizes_ms]
        end, ahead_ms = self._since_monday(end_ms)
        return [self._between(end_ms - size, end_ms, end, ahead_ms) for size in sizes_ms]

    def slot_of(self, time_ms: int) -> int:
        """Return the half-hour of the week, from Monday 00:00 in ``timezone``."""
        return _slot_at(self.timezone, time_ms // _QUARTER_MS)[1]

    def _between(self, from_ms: int, to_ms: int, to: float, ahead_ms: int) -> float:
        begin, ahead_before_ms = self._since_monday(from_ms)
        if ahead_before_ms == ahead_ms:
            return max(0.0, to - begin)
        return self._over_changed_clocks(from_ms, to_ms)

    def _over_changed_clocks(self, from_ms: int, to_ms: int) -> float:
        """Return the integral where clocks were put back or forward: by quarters of an hour, for then none has two offsets."""
        first, last = from_ms // _QUARTER_MS, (to_ms - 1) // _QUARTER_MS
        spans = [(max(from_ms, at * _QUARTER_MS), min(to_ms, (at + 1) * _QUARTER_MS)) for at in range(first, last + 1)]
        return sum(self.factors[self.slot_of(begin)] * (end - begin) for begin, end in spans)

    def _since_monday(self, time_ms: int) -> tuple[float, int]:
        weeks, slot, start_ms, ahead_ms = _slot_at(self.timezone, time_ms // _QUARTER_MS)
        until = self._until
        return (weeks * until[-1] + until[slot]) * SLOT_MS + self.factors[slot] * (time_ms - start_ms), ahead_ms
