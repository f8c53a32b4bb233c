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
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_PAIR = np.uint64(0xC2B2AE3D27D4EB4F)


@dataclass(frozen=True, slots=True)
class NGrams:
    """Buckets of texts, one text after another, each bucket once. buckets: (total,); starts: (texts,); weights: (total,).

    The weights of a text are equal and its row has unit length, however long the text is.
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
        return _laid_out(self.buckets[torch.repeat_interleave(kept, sizes)], sizes[kept])

    def through(self, places: Tensor) -> "NGrams":
        """Return them with every bucket replaced by its place in another table; places: (BUCKETS,)."""
        return NGrams(places[self.buckets], self.starts, self.weights)


def of_tokens(tokens: Sequence[TokenIds]) -> NGrams:
    """Return the n-grams of texts."""
    sizes = np.array([len(ids) for ids in tokens], dtype=np.int64)
    ids = np.concatenate(tokens).astype(np.uint64) if tokens else np.empty(0, dtype=np.uint64)
    owner = np.repeat(np.arange(len(tokens), dtype=np.int64), sizes)
    single, pair = ids * _SPREAD, (ids[:-1] * _SPREAD * _SPREAD) ^ (ids[1:] * _PAIR)
    together = owner[:-1] == owner[1:]
    hashes = np.concatenate([single, pair[together] * _SPREAD])
    texts = np.concatenate([owner, owner[:-1][together]])
    keys = np.unique(texts * BUCKETS + (hashes >> np.uint64(48)).astype(np.int64))
    counts = np.bincount(keys // BUCKETS, minlength=len(tokens))
    return _laid_out(torch.from_numpy(keys % BUCKETS), torch.from_numpy(counts))


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


def _laid_out(buckets: Tensor, sizes: Tensor) -> NGrams:
    weights = torch.repeat_interleave(sizes.clamp(min=1).float().rsqrt(), sizes)
    return NGrams(buckets, sizes.cumsum(0) - sizes, weights)
