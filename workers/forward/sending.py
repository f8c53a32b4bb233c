"""Bring the tokens of a batch to a device in one copy, and lay them out there: the longest texts first, one after another.

The host only counts and sorts; which row holds which token the device finds out itself, and nothing waits for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from workers.encoder import TokenIds
from workers.forward.packing import Index


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch on a device, in its own order. ids: (rows,); starts: (texts + 1,); order: (texts,) the longest first; all int32.

    ends: (texts,) rows up to each text in that order; lengths: (texts,) theirs; both on the host.
    """

    ids: Tensor
    starts: Tensor
    order: Tensor
    ends: Index
    lengths: Index

    @property
    def pairs(self) -> int:
        """Return how many neighbours there are within texts."""
        return int((self.lengths - 1).clip(0).sum())

    def bins(self, rows: int) -> Iterator[tuple[int, int]]:
        """Yield the first text and the one after the last, in the order of length, of bins of at most ``rows`` rows.

        A text longer than ``rows`` gets a bin of its own.
        """
        first, texts = 0, len(self.ends)
        while first < texts:
            done = int(self.ends[first] - self.lengths[first])
            last = max(first + 1, int(np.searchsorted(self.ends, done + rows, side="right")))
            yield first, last
            first = last


@dataclass(frozen=True, slots=True)
class Sorted:
    """The rows of a batch in the order of length. ids, positions: (rows,); starts: (texts + 1,); all int32."""

    ids: Tensor
    positions: Tensor
    starts: Tensor


def send(tokens: Sequence[TokenIds], device: torch.device) -> Sent:
    """Return a batch on a device; the copy may still be under way."""
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    order = np.argsort(-lengths, kind="stable")
    whole = np.concatenate([*tokens, [0], lengths.cumsum(), order], dtype=np.int32, casting="unsafe")
    host = torch.from_numpy(whole)
    there = host.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else host
    rows = len(whole) - 2 * len(tokens) - 1
    ends = lengths[order].cumsum()
    return Sent(there[:rows], there[rows : rows + len(tokens) + 1], there[rows + len(tokens) + 1 :], ends, lengths[order])


def sort(sent: Sent) -> Sorted:
    """Return the rows of a batch in the order of length."""
    lengths = torch.diff(sent.starts).index_select(0, sent.order)
    starts = pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
    owner = torch.repeat_interleave(lengths, output_size=len(sent.ids))
    positions = torch.arange(len(sent.ids), dtype=torch.int32, device=sent.ids.device) - starts.index_select(0, owner)
    begins = sent.starts.index_select(0, sent.order)
    return Sorted(sent.ids.index_select(0, begins.index_select(0, owner) + positions), positions, starts)
