"""Pack texts into batches by token budget, and say how long they are worth waiting for. Pure: the time is an argument.

A batch of n texts costs n times its longest text, as a padded forward pass would. Several budgets are gathered before
they are cut (the look-ahead), sorted by true length, so that texts of like length go together; a batch stops before the
budget would be exceeded.
"""

from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

Value = TypeVar("Value")
LOOK_AHEAD: Final = 8  # budgets


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one batch may hold, and how long texts may wait for company while the device is idle."""

    max_tokens: int
    max_items: int = 1_024
    max_wait_ms: float = 0.0

    def wants_more(self, tokens: int, waited_ms: float, busy: bool) -> bool:
        """Return whether texts that are gathered for the device should wait for more.

        While the device is busy they wait anyhow, so as many come together as it is worth looking ahead. Once it is idle
        they leave with a full budget, or when the oldest has waited long enough; without any text there is nothing to
        wait for.
        """
        if busy:
            return tokens < LOOK_AHEAD * self.max_tokens
        return 0 < tokens < self.max_tokens and waited_ms < self.max_wait_ms


class _Waiting(NamedTuple, Generic[Value]):
    value: Value
    tokens: int


@dataclass(frozen=True, slots=True)
class Batch(Generic[Value]):
    """Values that go through the model together. ``tokens`` are true ones; with ``padding`` all rows are equally long."""

    values: tuple[Value, ...]
    tokens: int
    padding: int

    def fill(self, limits: BatchLimits) -> float:
        """Return which share of the token budget is used, padding included."""
        return (self.tokens + self.padding) / limits.max_tokens


class TokenBatcher(Generic[Value]):
    """Gathers values, and cuts all of them into batches at once."""

    def __init__(self, limits: BatchLimits) -> None:
        self.limits = limits
        self._waiting: list[_Waiting[Value]] = []

    def add(self, value: Value, tokens: int) -> None:
        """Take one value with its number of tokens."""
        if tokens < 0:
            raise ValueError(f"tokens = {tokens}; a text has none or more")
        self._waiting.append(_Waiting(value, tokens))

    def flush(self) -> list[Batch[Value]]:
        """Return everything that waits, longest texts first, in batches within the limits."""
        waiting = sorted(self._waiting, key=lambda one: -one.tokens)
        self._waiting = []
        batches: list[Batch[Value]] = []
        start = 0
        while start < len(waiting):
            end = start + self._room(max(1, waiting[start].tokens))
            batches.append(_batch(waiting[start:end]))
            start = end
        return batches

    def _room(self, longest: int) -> int:
        """Return how many texts of at most this length fit; one that is longer than the budget goes alone."""
        return max(1, min(self.limits.max_items, self.limits.max_tokens // longest))


def _batch(waiting: list[_Waiting[Value]]) -> Batch[Value]:
    tokens = sum(one.tokens for one in waiting)
    return Batch(tuple(one.value for one in waiting), tokens, waiting[0].tokens * len(waiting) - tokens)
