"""Linear layers whose answer for a row never depends on how many rows there are.

A matrix library may add up in another order when the number of rows changes (oneDNN does, in bfloat16, for long rows). So
each kind of layer is tried at load with every number of rows a bin can have; where the bits are not those of the full number,
the layer gets more rows, zeros after the real ones.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from workers.forward.packing import row_counts
from workers.forward.trunk import Fusing, Linear, LinearFactory, Norm, RowMap, curved, normed

Use = Callable[[RowMap, Tensor, int], Tensor]
"""What the trunk does with a layer: from it, (rows, inputs) and the number of outputs to (rows, outputs)."""


class FilledRows(Fusing):
    """A layer that computes only the given numbers of rows, in rising order."""

    def __init__(self, layer: RowMap, counts: Sequence[int]) -> None:
        self.layer = layer
        self._counts = counts

    def __call__(self, rows: Tensor) -> Tensor:
        """Apply the layer to at most as many rows as the last number."""
        return self.layer(self._filled(rows))[: len(rows)]

    def curved(self, rows: Tensor) -> Tensor:
        """Return GELU of the layer."""
        return curved(self.layer, self._filled(rows))[: len(rows)]

    def normed(self, rows: Tensor, to: Tensor, norm: Norm) -> Tensor:
        """Return the norm of the layer of (rows, inputs), added to (rows, outputs)."""
        return normed(self.layer, self._filled(rows), self._filled(to), norm)[: len(rows)]

    def _filled(self, rows: Tensor) -> Tensor:
        count = self._counts[bisect_left(self._counts, len(rows))]
        if count == len(rows):
            return rows
        full = rows.new_zeros((count, rows.shape[1]))
        full[: len(rows)] = rows
        return full


def bare(layer: RowMap) -> Linear:
    """Return the ordinary layer within. Raises TypeError where there is none."""
    own = layer.layer if isinstance(layer, FilledRows) else layer
    if not isinstance(own, Linear):
        raise TypeError(f"{type(own).__name__} is no ordinary linear layer")
    return own


def steady_linear(then: LinearFactory, rows: int, dtype: torch.dtype) -> LinearFactory:
    """Return a factory of layers that are steady for bins of ``rows`` tokens; off the CPU all compute as many rows as those."""
    every = row_counts(rows)
    known: dict[tuple[torch.Size, Use], list[int]] = {}

    def make(name: str, weight: Tensor, bias: Tensor) -> RowMap:
        layer, use = then(name, weight, bias), use_of(name)
        if (kind := (weight.shape, use)) not in known:
            on_cpu = weight.device.type == "cpu"
            known[kind] = (
                steady_counts(lambda own: use(layer, own, len(weight)), weight.shape[1], every, dtype) if on_cpu else every[-1:]
            )
        return layer if known[kind] == every else FilledRows(layer, known[kind])

    return make


def use_of(name: str) -> Use:
    """Return what the trunk does with the layer of this name."""
    if name.endswith("intermediate.dense"):
        return _curve
    return _norm if name.endswith("output.dense") else _plain


def steady_counts(layer: RowMap, inputs: int, counts: Sequence[int], dtype: torch.dtype) -> list[int]:
    """Return those numbers of rows at which each row gets the same bits, at either end of them, as among the most."""
    trial = torch.randn((counts[-1], inputs), generator=torch.Generator().manual_seed(inputs)).to(dtype)
    with torch.inference_mode():
        whole = layer(trial)
        return [
            count
            for count in counts
            if torch.equal(layer(trial[:count]), whole[:count]) and torch.equal(layer(trial[-count:]), whole[-count:])
        ]


def _plain(layer: RowMap, rows: Tensor, _outputs: int) -> Tensor:
    return layer(rows)


def _curve(layer: RowMap, rows: Tensor, _outputs: int) -> Tensor:
    return curved(layer, rows)


def _norm(layer: RowMap, rows: Tensor, outputs: int) -> Tensor:
    ones = rows.new_ones((len(rows), outputs))
    return normed(layer, rows, ones, Norm(ones[0], 0 * ones[0], epsilon=1e-12))
