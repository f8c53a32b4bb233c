"""Fit what words say on training texts: one table for each kind of text, on a CPU in a minute or two."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor

from workers.encoder import SENTIMENTS, TokenIds
from workers.model.ngrams import BUCKETS, of_tokens, regress
from workers.training.config import TrainConfig
from workers.training.data import NEUTRAL, Prepared

KIND_TEXTS: Final = 12_000  # of each kind at most, to tell the kinds apart


def fit(sets: Sequence[Prepared], config: TrainConfig) -> dict[str, Tensor]:
    """Return the table of each kind, (BUCKETS, 4), fitted on the training texts of its sets; nothing for sets without a kind."""
    kinds = sorted({one.config.kind for one in sets if one.config.kind is not None})
    by_kind = {kind: [one for one in sets if one.config.kind == kind] for kind in kinds}
    if not by_kind:
        return {}
    looks = _looks([_tokens(own) for own in by_kind.values()], config.seed)
    return {
        kind: torch.cat([looks[:, index : index + 1], config.word_share * _sentiments(own)], dim=1)
        for index, (kind, own) in enumerate(by_kind.items())
    }


def _tokens(sets: Sequence[Prepared]) -> list[TokenIds]:
    return [ids for one in sets for ids in one.tokens]


def _looks(texts: Sequence[list[TokenIds]], seed: int) -> Tensor:
    """Return a column for each kind, (BUCKETS, kinds), that tells its texts from the others."""
    if len(texts) == 1:
        return torch.zeros((BUCKETS, 1))
    draw = np.random.default_rng(seed)
    chosen = [[own[place] for place in draw.permutation(len(own))[:KIND_TEXTS]] for own in texts]
    kinds = torch.repeat_interleave(torch.arange(len(texts)), torch.tensor([len(own) for own in chosen]))
    return regress(of_tokens([ids for own in chosen for ids in own]), kinds, len(texts))


def _sentiments(sets: Sequence[Prepared]) -> Tensor:
    """Return the columns of one kind, (BUCKETS, 3); neutral says nothing where no text was.

    A kind that is judged by its classes' mean recall is fitted so, each class weighing alike.
    """
    alike = any(one.config.metric == "macro_recall" for one in sets)
    classes = torch.from_numpy(np.concatenate([one.classes for one in sets]))
    grams = of_tokens(_tokens(sets))
    if bool((classes == NEUTRAL).any()):
        return regress(grams, classes, len(SENTIMENTS), alike)
    two = regress(grams, (classes > NEUTRAL).long(), 2, alike)
    return torch.stack([two[:, 0], torch.zeros(BUCKETS), two[:, 1]], dim=1)
