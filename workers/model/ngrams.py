"""What a sentence vector forgets: which words stand there, and which stand side by side.

Single tokens and pairs of neighbours, hashed into buckets (Weinberger et al. 2009, "Feature hashing for large scale multitask
learning"), go to the answers beside the vector (Cheng et al. 2016, "Wide & deep learning for recommender systems").
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, embedding_bag

from workers.encoder import TokenIds

BUCKETS: Final = 1 << 16
PRIOR_VARIANCE: Final = 30.0
_ITERATIONS: Final = 80
_SPREAD: Final = 0x9E3779B97F4A7C15 - (1 << 64)  # as the int64 of these bits, which torch multiplies with wrapping round
_PAIR: Final = 0xC2B2AE3D27D4EB4F - (1 << 64)
_NOWHERE: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class NGrams:
    """Buckets of texts, one text after another. buckets: (total,), rising; starts: (texts,); weights: (total,).

    The weights of a text's buckets are equal and its row has unit length, however long the text is; a bucket that comes again
    in a text weighs nothing, so that the numbers are known before a device has looked at the texts.
    """

    buckets: Tensor
    starts: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.starts)

    def to(self, device: torch.device) -> "NGrams":
        """Return them on a device."""
        return NGrams(self.buckets.to(device), self.starts.to(device), self.weights.to(device))

    def rows(self, table: Tensor) -> Tensor:
        """Return what a table (buckets, k) says of each text, (texts, k)."""
        return embedding_bag(self.buckets, table, self.starts, mode="sum", per_sample_weights=self.weights)

    def where(self, kept: Tensor) -> "NGrams":
        """Return the texts of a mask (texts,)."""
        sizes = torch.diff(self.starts, append=torch.tensor([len(self.buckets)]))
        own = torch.repeat_interleave(kept, sizes)
        return NGrams(self.buckets[own], sizes[kept].cumsum(0) - sizes[kept], self.weights[own])

    def through(self, places: Tensor) -> "NGrams":
        """Return them with every bucket replaced by its place in another table; places: (BUCKETS,)."""
        return NGrams(places[self.buckets], self.starts, self.weights)


def of_tokens(tokens: Sequence[TokenIds]) -> NGrams:
    """Return the n-grams of texts."""
    sizes = np.array([len(ids) for ids in tokens], dtype=np.int64)
    ids = np.concatenate(tokens) if tokens else np.empty(0, dtype=np.int32)
    return of_rows(torch.from_numpy(ids), torch.from_numpy(np.append(0, sizes.cumsum())), int((sizes - 1).clip(0).sum()))


def of_rows(ids: Tensor, starts: Tensor, pairs: int) -> NGrams:
    """Return the n-grams of texts that lie one after another, on their device. ids: (rows,); starts: (texts + 1,).

    pairs: how many neighbours there are within texts; to count them here would mean to wait for the device.
    """
    sizes, ids = torch.diff(starts.long()), ids.long()
    owner = torch.repeat_interleave(sizes, output_size=len(ids))
    apart = owner[:-1] != owner[1:]
    pair = (ids[:-1] * _SPREAD * _SPREAD) ^ (ids[1:] * _PAIR)
    keys = torch.cat([_key(owner, ids), _key(owner[:-1], pair).masked_fill(apart, _NOWHERE)])
    keys = keys.sort().values[: len(ids) + pairs]
    fresh = torch.cat([torch.ones_like(keys[:1]), (keys[1:] != keys[:-1]).long()])
    text = keys // BUCKETS
    counts = torch.zeros_like(sizes).scatter_add_(0, text, fresh)
    grams = (2 * sizes - 1).clamp(min=0)
    return NGrams(keys % BUCKETS, grams.cumsum(0) - grams, fresh * counts[text].float().rsqrt())


def _key(owner: Tensor, ids: Tensor) -> Tensor:
    """Return a text's number and the bucket of what stands in it: the upper 16 bits of the spread number."""
    return owner * BUCKETS + ((ids * _SPREAD >> 48) & (BUCKETS - 1))


def regress(grams: NGrams, classes: Tensor, outputs: int, alike: bool = False) -> Tensor:
    """Return the table (BUCKETS, outputs) of a multinomial logistic regression with a normal prior on every weight.

    alike: every class weighs the same, however many texts it has.
    """
    used = torch.unique(grams.buckets)
    places = torch.zeros(BUCKETS, dtype=torch.int64)
    places[used] = torch.arange(len(used))
    counts = torch.bincount(classes, minlength=outputs)
    weigh = len(classes) / (outputs * counts.clamp(min=1)) if alike else torch.ones(outputs)
    own, penalty = grams.through(places), 1 / (2 * PRIOR_VARIANCE * len(grams))
    weight = torch.zeros((len(used), outputs), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight], max_iter=_ITERATIONS, history_size=5, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(own.rows(weight), classes, weight=weigh) + penalty * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    table = torch.zeros((BUCKETS, outputs))
    table[used] = weight.detach()
    return table
