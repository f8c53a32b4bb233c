"""A training step on a GPU as CUDA graphs: forward and backward pass replayed as one launch.

A step on eight thousand tokens is some two thousand small kernels, which take longer to launch than to run. A graph repeats
sums of one shape, so every batch is filled up to the same number of rows and texts with texts of which nothing is asked.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from workers.forward.graphs import Shape, attend_packed
from workers.forward.packing import pack, round_up
from workers.training.config import TrainConfig
from workers.training.data import Prepared
from workers.training.feed import feed
from workers.training.losses import Labels
from workers.training.tuned import Batch, Rows, TunedModel, rows_of

SIZING: Final = 200  # batches that tell how many texts one holds
_WARM_UPS: Final = 3
_ROW_MULTIPLE: Final = 64


def shape_of(config: TrainConfig, sets: Sequence[Prepared]) -> Shape:
    """Return the shape that holds the batches of a run, filling included; now and then one may have too many texts for it."""
    texts = max(len(batch.tokens) for batch in itertools.islice(feed(config, sets), SIZING)) * 5 // 4
    rows = round_up(config.batch_tokens + config.forms * config.max_tokens + texts, _ROW_MULTIPLE)
    return Shape(rows, texts + -(-(rows - config.batch_tokens) // config.max_tokens), config.max_tokens)


def fits(batch: Batch, shape: Shape) -> bool:
    """Return whether a batch leaves as many rows as its filling has texts at least, and no more than these can hold."""
    rows, texts = _left(batch, shape)
    return 0 < texts <= rows <= texts * shape.longest


def filled(batch: Batch, shape: Shape, filling: int) -> Batch:
    """Return a batch that fits with exactly the shape's rows and texts. filling: the set of the texts that are added."""
    rows, texts = _left(batch, shape)
    lengths = np.full(texts, rows // texts)
    lengths[: rows % texts] += 1
    sets, classes, partner, targets = batch.labels
    labels = Labels(
        torch.cat([sets, torch.full((texts,), filling)]),
        torch.cat([classes, torch.zeros(texts, dtype=torch.int64)]),
        torch.cat([partner, torch.arange(len(batch.tokens), shape.texts)]),
        torch.cat([targets, targets.new_zeros(texts, targets.shape[1])]),
    )
    return Batch([*batch.tokens, *(np.zeros(length, np.int32) for length in lengths)], labels)


def _left(batch: Batch, shape: Shape) -> tuple[int, int]:
    return shape.rows - sum(map(len, batch.tokens)), shape.texts - len(batch.tokens)


@dataclass(frozen=True, slots=True)
class _Graph:
    """One recorded pass. gradients: in the order of the parameters."""

    graph: torch.cuda.CUDAGraph
    terms: dict[str, Tensor]
    gradients: list[Tensor | None]


class RecordedStep:
    """Losses and gradients of batches of one shape, by one graph for steps with the base model and one for those without."""

    def __init__(self, model: TunedModel, shape: Shape) -> None:
        self._model = model
        self._shape = shape
        self._inputs: tuple[Rows, Labels] | None = None
        self._graphs: dict[bool, _Graph] = {}

    def __call__(self, batch: Batch, with_base: bool) -> dict[str, Tensor]:
        """Set the model's gradients to those of a batch that fits; return the loss terms, which the next call overwrites."""
        full = filled(batch, self._shape, self._model.tasks.filling)
        (packed,) = pack(full.tokens, self._shape.rows)
        rows, members = rows_of(packed, self._shape)
        self._take(rows, full.labels.at(members))
        if with_base not in self._graphs:
            self._graphs[with_base] = self._record(with_base)
        recorded = self._graphs[with_base]
        recorded.graph.replay()
        for parameter, gradient in zip(self._model.parameters(), recorded.gradients, strict=True):
            parameter.grad = gradient
        return recorded.terms

    def _take(self, rows: Rows, labels: Labels) -> None:
        """Copy a batch to where the graphs read it."""
        if self._inputs is None:
            device = self._model.trunk.device
            self._inputs = rows.to(device), labels.to(device)
        for targets, sources in zip(self._inputs, (rows, labels), strict=True):
            for target, source in zip(targets, sources, strict=True):
                target.copy_(source.pin_memory(), non_blocking=True)

    def _pass(self, with_base: bool) -> dict[str, Tensor]:
        assert self._inputs is not None
        rows, labels = self._inputs
        longest = self._shape.longest
        features, base = self._model(
            rows, lambda query_key_value, heads: attend_packed(query_key_value, rows.starts, longest, heads), with_base
        )
        terms = self._model.terms(features, base, labels)
        self._model.total(terms).backward()  # type: ignore[no-untyped-call]
        return {name: value.detach() for name, value in terms.items()}

    def _record(self, with_base: bool) -> _Graph:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._model.zero_grad(set_to_none=True)
                self._pass(with_base)
        torch.cuda.current_stream().wait_stream(side)
        self._model.zero_grad(set_to_none=True)  # so that the graph's gradients lie in its own memory
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            terms = self._pass(with_base)
        return _Graph(graph, terms, [parameter.grad for parameter in self._model.parameters()])
