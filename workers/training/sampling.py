"""Balanced batches: every batch holds each data set in its share, whatever the sets' sizes."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Picks = list[tuple[int, int]]


def batches(lengths: Sequence[npt.NDArray[np.int64]], shares: Sequence[float], batch_tokens: int, seed: int) -> Iterator[Picks]:
    """Yield batches of (data set, row) without end, about ``batch_tokens`` tokens each.

    ``lengths`` holds the tokens of every row of every set. Sets are drawn by share; rows without replacement until a set
    is used up, then in a new order. The same arguments give the same batches.
    """
    chance = np.asarray(shares, dtype=np.float64) / sum(shares)
    draw = np.random.default_rng(seed)
    rows = [_endless(len(own), np.random.default_rng((seed, index))) for index, own in enumerate(lengths)]
    drawn = _drawn(draw, chance)
    while True:
        picks: Picks = []
        tokens = 0
        while tokens < batch_tokens:
            chosen = next(drawn)
            row = next(rows[chosen])
            picks.append((chosen, row))
            tokens += int(lengths[chosen][row])
        yield picks


def _endless(size: int, draw: np.random.Generator) -> Iterator[int]:
    while True:
        yield from draw.permutation(size).tolist()


def _drawn(draw: np.random.Generator, chance: npt.NDArray[np.float64]) -> Iterator[int]:
    while True:
        yield from draw.choice(len(chance), size=1024, p=chance).tolist()
