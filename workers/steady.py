"""Linear layers whose answer for a row never depends on how many rows there are.

A matrix library may add up in another order when the number of rows changes (oneDNN does, in bfloat16, for long rows). So
each kind of layer is tried at load with every number of rows a bin can have; where the bits differ, the layer always gets
the full number of rows, filled up with zeros.
"""

import torch
from torch import Tensor

from workers.packing import ROW_MULTIPLE
from workers.trunk import Linear, LinearFactory, RowMap

Kind = tuple[int, int]


class FullRows:
    """A layer that always computes ``rows`` rows."""

    def __init__(self, layer: RowMap, rows: int) -> None:
        self.layer = layer
        self._rows = rows

    def __call__(self, rows: Tensor) -> Tensor:
        """Apply the layer to at most as many rows as it computes."""
        if len(rows) == self._rows:
            return self.layer(rows)
        full = rows.new_zeros((self._rows, rows.shape[1]))
        full[: len(rows)] = rows
        return self.layer(full)[: len(rows)]


def bare(layer: RowMap) -> Linear:
    """Return the ordinary layer within. Raises TypeError where there is none."""
    own = layer.layer if isinstance(layer, FullRows) else layer
    if not isinstance(own, Linear):
        raise TypeError(f"{type(own).__name__} is no ordinary linear layer")
    return own


def steady_linear(then: LinearFactory, rows: int, dtype: torch.dtype) -> LinearFactory:
    """Return a factory of layers that are steady up to ``rows`` rows; off the CPU all of them compute the full number."""
    known: dict[Kind, bool] = {}

    def make(name: str, weight: Tensor, bias: Tensor) -> RowMap:
        layer = then(name, weight, bias)
        outputs, inputs = weight.shape
        if (kind := (outputs, inputs)) not in known:
            known[kind] = weight.device.type == "cpu" and is_steady(layer, inputs, rows, dtype)
        return layer if known[kind] else FullRows(layer, rows)

    return make


def is_steady(layer: RowMap, inputs: int, rows: int, dtype: torch.dtype) -> bool:
    """Return whether each row gets the same bits alone at either end of any number of rows as among all of them."""
    draw = torch.Generator().manual_seed(inputs)
    trial = torch.randn((rows, inputs), generator=draw).to(dtype)
    with torch.inference_mode():
        whole = layer(trial)
        return all(
            torch.equal(layer(trial[:count]), whole[:count]) and torch.equal(layer(trial[rows - count :]), whole[rows - count :])
            for count in range(ROW_MULTIPLE, rows, ROW_MULTIPLE)
        )
