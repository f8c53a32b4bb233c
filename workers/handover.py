"""Put a rebalance off while something is in flight, so that no partition goes to another member half done.

A member learns from a heartbeat that its group rebalances, and takes part with its next poll; until then it may commit. So
a worker that is told finishes what it has, commits it, and only then polls. Who cannot finish within the patience polls all
the same: what it could not commit is delivered again, to the next owner, and changes nothing.
"""

from collections.abc import Callable

from pipeline.adapters.streams import Source


class Handover:
    """Knows since when a rebalance has been waiting for this member."""

    def __init__(self, source: Source, patience_s: float, clock_s: Callable[[], float]) -> None:
        self._source = source
        self._patience_s = patience_s
        self._clock_s = clock_s
        self._until_s: float | None = None

    def holds(self) -> bool:
        """Return whether a rebalance is due and should wait for what is in flight."""
        if not self._source.rebalance_due():
            self._until_s = None
            return False
        if self._until_s is None:
            self._until_s = self._clock_s() + self._patience_s
        return self._clock_s() < self._until_s
