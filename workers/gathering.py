"""Gather the records of several polls into one chunk: as long as the device is busy, and a moment longer where that is set.

What comes while the device works goes to it together, sorted by length, with one set of writes and one commit, instead of
waiting for a turn of its own. An idle device gets a chunk at once when it holds a full token budget, or when its oldest
text has waited ``max_wait_ms``.
"""

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, Final

from workers.preparing import Chunk
from workers.rules import WorkerRules

LOOK_EVERY_S: Final = 0.05  # how often to poll while the device computes; it is waited for, so an early end is not missed

Take = Callable[[int, int], Chunk]
"""Polls at most so many records for so many milliseconds and prepares them; an empty chunk when nothing came."""


class Gathering:
    """Polls by ``take`` until the chunk may leave, or ``interrupted`` says that the loop has something else to do first."""

    def __init__(self, take: Take, interrupted: Callable[[], bool], rules: WorkerRules, clock_s: Callable[[], float]) -> None:
        self._take = take
        self._interrupted = interrupted
        self._rules = rules
        self._clock_s = clock_s

    def chunk(self, device: "Future[Any] | None") -> Chunk | None:
        """Return the next chunk, or None when nothing came; ``device`` is what it works on."""
        chunk = self._take(self._rules.max_poll_records, self._rules.poll_timeout_ms if device is None else 0)
        while (timeout_ms := self._more(chunk, device)) is not None and not self._interrupted():
            chunk.join(self._take(self._rules.max_poll_records - len(chunk.records), timeout_ms))
        return chunk if chunk.records else None

    def _more(self, chunk: Chunk, device: "Future[Any] | None") -> int | None:
        """Return how long the next poll may take, or None when the chunk has all it should wait for."""
        limits, tokens = self._rules.limits, sum(map(len, chunk.missing.values()))
        waited_ms = (self._clock_s() - chunk.since_s) * 1000
        busy = device is not None and not device.done()
        if len(chunk.records) >= self._rules.max_poll_records or not limits.wants_more(tokens, waited_ms, busy):
            return None
        if device is not None and busy:
            wait([device], timeout=LOOK_EVERY_S)
            return 0
        return max(1, round(limits.max_wait_ms - waited_ms))
