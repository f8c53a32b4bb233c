"""Lay the texts of a batch out as rows without padding, and say where each of them lies.

A text's own length alone decides how it is computed: what is no kernel of our own, pooling for one, goes by buckets of lengths
(a multiple of 16, the rest masked), and the rows of a bin are filled up to one of few numbers. So an answer does not depend on
its neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from workers.encoder import TokenIds

ROW_MULTIPLE: Final = 16
LENGTH_MULTIPLE: Final = 16
MANY_ROWS: Final = 512
MANY_ROWS_MULTIPLE: Final = 128
Index = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Group:
    """Texts of one bucket of lengths. rows: (n, bucket) row of each token, or -1; members: (n,) places in the batch."""

    rows: Index
    members: Index

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Return (n, bucket): where a token stands."""
        present: npt.NDArray[np.bool_] = self.rows >= 0
        return present


@dataclass(frozen=True, slots=True)
class Bin:
    """One call of the trunk. ids and positions: (rows,); the rows after ``tokens`` are filling."""

    ids: Index
    positions: Index
    tokens: int
    groups: tuple[Group, ...]


def pack(tokens: Sequence[TokenIds], rows: int) -> list[Bin]:
    """Return bins of about ``rows`` rows that hold every text once, texts of like length together.

    A text longer than ``rows`` gets a bin of its own.
    """
    lengths = np.array([len(ids) for ids in tokens], dtype=np.int64)
    bins: list[Bin] = []
    chosen: list[int] = []
    total = 0
    for place in np.argsort(-lengths, kind="stable"):
        if chosen and total + lengths[place] > rows:
            bins.append(_bin(tokens, lengths, chosen))
            chosen, total = [], 0
        chosen.append(int(place))
        total += int(lengths[place])
    if chosen:
        bins.append(_bin(tokens, lengths, chosen))
    return bins


def padding_ratio(bins: Sequence[Bin]) -> float:
    """Return the share of rows that are filling."""
    rows = sum(len(one.ids) for one in bins)
    return 1 - sum(one.tokens for one in bins) / rows if rows else 0.0


def round_up(value: int, multiple: int) -> int:
    """Return the smallest multiple that is not below the value."""
    return -(-value // multiple) * multiple


def filled_rows(tokens: int) -> int:
    """Return how many rows a bin of so many tokens has."""
    return round_up(tokens, ROW_MULTIPLE if tokens <= MANY_ROWS else MANY_ROWS_MULTIPLE)


def row_counts(rows: int) -> list[int]:
    """Return the numbers of rows that bins of up to ``rows`` tokens have, in rising order."""
    return sorted({filled_rows(tokens) for tokens in range(1, rows + 1)})


def _bin(tokens: Sequence[TokenIds], lengths: Index, chosen: list[int]) -> Bin:
    own = lengths[chosen]
    total = int(own.sum())
    starts = np.cumsum(own) - own
    ids = np.zeros(filled_rows(total), np.int64)
    positions = np.zeros_like(ids)
    ids[:total] = np.concatenate([tokens[place] for place in chosen])
    positions[:total] = np.arange(total) - np.repeat(starts, own)
    buckets = -(-own // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    groups = tuple(
        _group(np.array(chosen)[buckets == bucket], starts[buckets == bucket], own[buckets == bucket], int(bucket))
        for bucket in np.unique(buckets)
    )
    return Bin(ids, positions, total, groups)


def _group(members: Index, starts: Index, lengths: Index, bucket: int) -> Group:
    steps = np.arange(bucket)
    rows = np.where(steps < lengths[:, None], starts[:, None] + steps, -1)
    return Group(rows, members)
