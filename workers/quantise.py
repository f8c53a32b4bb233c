"""Linear layers in 8 bits on a CPU: exact integer sums, one scale per token and one per output.

The products of int8 rows and int8 weights are summed as int32, which is exact in any order, and all that follows is
element by element. So an answer cannot depend on the batch, whatever kernel does the sums.
"""

import torch
from torch import Tensor

from workers.trunk import LinearFactory, RowMap

_LEVELS = 127.0


class Int8Linear:
    """A linear layer with symmetric int8 weights, one scale per output; activations are scaled per row as they come."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        scale = weight.abs().amax(dim=1).clamp(min=1e-12) / _LEVELS
        self.weight = (weight / scale[:, None]).round().to(torch.int8).t().contiguous()
        self.scale = scale
        self.bias = bias.clone()

    def __call__(self, rows: Tensor) -> Tensor:
        """Apply the layer to (rows, inputs) float32."""
        row_scale = rows.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12).div_(_LEVELS)
        levels = rows.div(row_scale).round_().to(torch.int8)
        sums = torch._int_mm(levels, self.weight).float().mul_(self.scale)
        return torch.addcmul(self.bias, sums, row_scale)


def int8_linear() -> LinearFactory:
    """Return the factory of 8-bit layers."""

    def make(_name: str, weight: Tensor, bias: Tensor) -> RowMap:
        return Int8Linear(weight.float(), bias.float())

    return make
