"""Low-rank adapters (Hu et al. 2021, LoRA): W + (alpha / rank) · B · A, trained apart and merged at load.

An adapter holds ``NAME.down`` (rank, inputs) and ``NAME.up`` (outputs, rank), the scale folded into ``up``; a layer that was
trained whole stands there as ``NAME.weight`` and ``NAME.bias``.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from pipeline.errors import ModelError
from workers.forward.dropout import dropout
from workers.forward.trunk import LinearFactory, RowMap


class LowRankLinear(nn.Module):
    """A frozen linear layer and a trainable low-rank term beside it. The masters are float32, the sums in the layer's format.

    drop: share of the inputs of the low-rank term that training leaves out; after: of what leaves the layer.
    """

    def __init__(self, weight: Tensor, bias: Tensor, rank: int, scale: float, drop: float = 0.0, after: float = 0.0) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.weight = weight
        self.bias = bias
        self.scale = scale
        self.drop = drop
        self.after = after
        self.down = nn.Parameter(torch.empty(rank, inputs))
        self.up = nn.Parameter(torch.zeros(outputs, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, rows: Tensor) -> Tensor:
        """Apply both terms to (rows, inputs)."""
        low = linear(dropout(rows, self.drop, self.training), self.down.to(rows.dtype))
        both = torch.addmm(linear(rows, self.weight, self.bias), low, (self.scale * self.up).to(rows.dtype).T)
        return dropout(both, self.after, self.training)

    def scale_change(self, keep: float) -> None:
        """Keep a share of what was learned."""
        with torch.no_grad():
            self.up.mul_(keep)

    def merged(self) -> dict[str, Tensor]:
        """Return the two factors with the scale folded in."""
        return {"down": self.down.detach().clone(), "up": (self.scale * self.up).detach().clone()}


def merging(adapter: Mapping[str, Tensor], then: LinearFactory) -> LinearFactory:
    """Return a factory that adds the adapter's term to each weight before ``then`` makes the layer.

    Raises ModelError when a factor does not fit its layer, or a whole layer lacks its bias.
    """

    def make(name: str, weight: Tensor, bias: Tensor) -> RowMap:
        if (whole := adapter.get(f"{name}.weight")) is not None:
            if (own := adapter.get(f"{name}.bias")) is None:
                raise ModelError(f"adapter {name}: lacks its bias; train again or reinstall")
            return then(name, whole.float(), own.float())
        down, up = adapter.get(f"{name}.down"), adapter.get(f"{name}.up")
        if down is None or up is None:
            return then(name, weight, bias)
        if (up.shape[0], down.shape[1]) != tuple(weight.shape) or up.shape[1] != down.shape[0]:
            raise ModelError(
                f"adapter {name}: factors {tuple(up.shape)} and {tuple(down.shape)} do not fit {tuple(weight.shape)}"
            )
        return then(name, weight + up.float() @ down.float(), bias)

    return make
