"""Letting events through at their time: event time over speed, from the first event on."""

from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import Final

LONG_WAIT_S: Final = 1.0


class Pace:
    """Makes events wait until they are due; the first one goes at once.

    ``speed`` is event time over real time, None: no event waits. ``before_long_wait`` is called before a wait of more than
    ``LONG_WAIT_S``, to make durable what was written. ``stop`` ends a wait.
    """

    def __init__(
        self,
        speed: float | None,
        stop: Event,
        before_long_wait: Callable[[], None],
        monotonic_s: Callable[[], float] = monotonic,
    ) -> None:
        self._speed = speed
        self._stop = stop
        self._before_long_wait = before_long_wait
        self._monotonic_s = monotonic_s
        self._first: tuple[float, int] | None = None  # second of the start, event time there

    def delay_s(self, time_ms: int) -> float:
        """Return in how many seconds an event of this time is due; not above 0 where it is."""
        if self._speed is None or self._first is None:
            return 0.0
        start_s, first_ms = self._first
        return start_s + (time_ms - first_ms) / 1_000 / self._speed - self._monotonic_s()

    def wait_until_due(self, time_ms: int) -> bool:
        """Wait until an event of this time is due; return False when stopped before or meanwhile."""
        if self._speed is not None:
            self._first = self._first or (self._monotonic_s(), time_ms)
            delay_s = self.delay_s(time_ms)
            if delay_s > LONG_WAIT_S:
                self._before_long_wait()
            if delay_s > 0:
                self._stop.wait(delay_s)
        return not self._stop.is_set()
