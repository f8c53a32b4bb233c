"""Pack texts into batches by token budget. Pure: the time is an argument.

A batch of n texts costs n times its longest text, as a padded forward pass would. Several budgets are gathered before
they are cut (the look-ahead), sorted by true length, so that texts of like length go together; a batch stops before the
budget would be exceeded.
"""

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

Value = TypeVar("Value")
LOOK_AHEAD = 8  # budgets


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What one batch may hold, and how long a text may wait for it."""

    max_tokens: int
    max_items: int = 1_024
    max_wait_ms: int = 20


class _Waiting(NamedTuple, Generic[Value]):
    value: Value
    tokens: int
    since_ms: int


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
    """Gathers values until a look-ahead of budgets is full, or the oldest waited long enough, or the device is idle."""

    def __init__(self, limits: BatchLimits, look_ahead: int = LOOK_AHEAD) -> None:
        self.limits = limits
        self._look_ahead_tokens = look_ahead * limits.max_tokens
        self._waiting: list[_Waiting[Value]] = []
        self._tokens = 0

    def add(self, value: Value, tokens: int, now_ms: int) -> None:
        """Take one value with its number of tokens."""
        if tokens < 0:
            raise ValueError(f"tokens = {tokens}; a text has none or more")
        self._waiting.append(_Waiting(value, tokens, now_ms))
        self._tokens += tokens

    def poll(self, now_ms: int) -> list[Batch[Value]]:
        """Return batches if enough tokens are gathered or the oldest value has waited ``max_wait_ms``; else none."""
        if not self._waiting:
            return []
        waited_ms = now_ms - self._waiting[0].since_ms
        if self._tokens < self._look_ahead_tokens and waited_ms < self.limits.max_wait_ms:
            return []
        return self.flush()

    def flush(self) -> list[Batch[Value]]:
        """Return everything that waits, longest texts first, in batches within the limits."""
        waiting = sorted(self._waiting, key=lambda one: -one.tokens)
        self._waiting, self._tokens = [], 0
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
