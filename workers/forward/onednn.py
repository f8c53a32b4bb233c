"""Linear layers in bfloat16 by oneDNN: weights laid out once for the processor, GELU or a residual added in the same pass.

torch lays the weights out anew in every call, and goes over the widest rows once more for GELU.
"""

import torch
from torch import Tensor

from workers.forward import passes
from workers.forward.lanes import numbers
from workers.forward.trunk import Fusing, Norm, RowMap


class OneDnnLinear(Fusing):
    """A layer in bfloat16. weight: (outputs, inputs)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(torch.bfloat16))
        self.bias = bias.to(torch.bfloat16)

    def __call__(self, rows: Tensor) -> Tensor:
        """Apply the layer to (rows, inputs) bfloat16."""
        return self._applied(rows, "none", "")

    def curved(self, rows: Tensor) -> Tensor:
        """Return GELU of the layer."""
        return self._applied(rows, "gelu", "none")

    def normed(self, rows: Tensor, to: Tensor, norm: Norm) -> Tensor:
        """Return the norm of the layer of (rows, inputs), added to (rows, outputs)."""
        found: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows, to, self.packed, self.bias, "add")
        passes.norm(numbers(found), numbers(norm.weight), numbers(norm.bias), norm.epsilon)
        return found

    def _applied(self, rows: Tensor, then: str, kind: str) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.packed, self.bias, then, [], kind)
        return found


def onednn_linear(_name: str, weight: Tensor, bias: Tensor) -> RowMap:
    """Make a layer of float32 weights."""
    return OneDnnLinear(weight, bias)


def is_offered() -> bool:
    """Return whether oneDNN has bfloat16 on this processor."""
    return bool(
        torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
