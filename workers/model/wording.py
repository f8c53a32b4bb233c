"""Sentiment read off words alone, kind of text by kind of text, to stand beside what the trunk reads.

The trunk learns its training texts by heart and forgets how often a word alone told the answer; a linear model of n-grams
(``workers.model.ngrams``) cannot, and errs elsewhere. What it says counts by how surely the words show the kind of text:
"short" says one thing on a stock forum and another in a review.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from pipeline.errors import ModelError
from workers.encoder import SENTIMENTS
from workers.model.ngrams import BUCKETS, NGrams

_COLUMNS: Final = 1 + len(SENTIMENTS)
_LEVELS: Final = 127


@dataclass(frozen=True, slots=True)
class Wording:
    """n-grams to logits. table: (BUCKETS, kinds * 4): of each kind how much a text looks like it, then its SENTIMENTS."""

    table: Tensor

    def __call__(self, grams: NGrams) -> Tensor:
        """Return logits (texts, 3)."""
        return said(self.told(grams))

    def told(self, grams: NGrams) -> Tensor:
        """Return what the table holds of each text, (texts, kinds * 4); ``said`` makes the answer of it."""
        return grams.rows(self.table)

    def to(self, device: torch.device) -> "Wording":
        """Return the table on a device."""
        return Wording(self.table.to(device))


def said(told: Tensor) -> Tensor:
    """Return logits (texts, 3): the mean of what the kinds say, by how likely each kind is."""
    by_kind = told.view(len(told), -1, _COLUMNS)
    share = torch.softmax(by_kind[:, :, 0], dim=1)
    return (share[:, :, None] * by_kind[:, :, 1:]).sum(1)


def tensors_of(tables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what is shipped of the tables, under the names that ``load_wording`` reads: whole levels of each column's step."""
    tensors = {}
    for kind, table in tables.items():
        steps = table.abs().amax(0).clamp(min=1e-12) / _LEVELS
        tensors[f"{kind}.levels"] = (table / steps).round().to(torch.int8)
        tensors[f"{kind}.steps"] = steps
    return tensors


def load_wording(tensors: Mapping[str, Tensor]) -> Wording:
    """Return what stands in shipped weights; weights without it say nothing. Raises ModelError when it does not fit."""
    kinds = sorted({name.partition(".")[0] for name in tensors})
    try:
        tables = [tensors[f"{kind}.levels"].float() * tensors[f"{kind}.steps"] for kind in kinds]
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"the wording does not fit ({error}); train again or reinstall") from error
    if wrong := [tuple(table.shape) for table in tables if table.shape != (BUCKETS, _COLUMNS)]:
        raise ModelError(f"the wording has a table of {wrong[0]}, not {(BUCKETS, _COLUMNS)}; train again or reinstall")
    return Wording(torch.cat(tables, dim=1) if tables else torch.zeros((BUCKETS, _COLUMNS)))
