"""From the sets of a run to its batches: token ids and labels, and the sample that a whitening is fitted on."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch

from workers.encoder import TokenIds
from workers.training.config import TrainConfig
from workers.training.data import Prepared
from workers.training.losses import Labels
from workers.training.sampling import Picks, batches
from workers.training.tuned import Batch

WHITENING_TEXTS: Final = 6_000


def feed(config: TrainConfig, sets: Sequence[Prepared], skip: int = 0) -> Iterator[Batch]:
    """Yield the batches of a run without end, from after ``skip`` steps on.

    Where the run asks for consistency a text stands twice in its batch, of half as many texts then.
    """
    endless = batches(_lengths(sets), _shares(sets), config.batch_tokens // config.forms, config.seed)
    first = skip * config.accumulate
    targets = [one.targets(config.taught_share) for one in sets]
    for number, own in enumerate(itertools.islice(endless, first, None), start=first):
        picks = own * config.forms
        classes = torch.tensor([int(sets[index].classes[row]) for index, row in picks])
        partner = torch.arange(len(picks)).roll(len(own))
        own_targets = torch.from_numpy(np.stack([targets[index][row] for index, row in picks]))
        labels = Labels(torch.tensor([index for index, _ in picks]), classes, partner, own_targets)
        yield Batch(_forms(config, sets, picks, number), labels)


def training_sample(sets: Sequence[Prepared], config: TrainConfig) -> list[TokenIds]:
    """Return the training texts that a whitening is fitted on, in the shares of the batches."""
    endless = batches(_lengths(sets), _shares(sets), config.batch_tokens, config.seed + 1)
    count = min(WHITENING_TEXTS, sum(len(one.tokens) for one in sets))
    picks = itertools.islice(itertools.chain.from_iterable(endless), count)
    return [sets[index].tokens[row] for index, row in picks]


def _lengths(sets: Sequence[Prepared]) -> list[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    return [one.lengths for one in sets]


def _shares(sets: Sequence[Prepared]) -> list[float]:
    return [one.config.share for one in sets]


def _forms(config: TrainConfig, sets: Sequence[Prepared], picks: Picks, number: int) -> list[TokenIds]:
    """Return the tokens of each pick, of its altered form where augmentation draws it; a batch's number seeds the draws."""
    if config.augment is None:
        return [sets[index].tokens[row] for index, row in picks]
    draws = np.random.default_rng((config.seed, number)).random(len(picks))
    chosen = draws < config.augment.share
    return [
        (sets[index].altered if other else sets[index].tokens)[row] for (index, row), other in zip(picks, chosen, strict=True)
    ]
