"""Linear layers in 8 bits on a CPU: exact integer sums, one scale and middle per token, one scale per output.

Every row of activations is mapped onto [-1, 1] by its own middle and half width, so its levels never depend on the rows beside
it; integer sums are exact in any order, and all that follows is element by element. (With AMX oneDNN scales four rows of a small
layer otherwise than many, in the last bit; ``workers.forward.steady`` tries at load whether a layer of the encoder does.)

Inputs that are large in every text would take all levels for themselves, so each input is divided by what is typical of it and
its weights are multiplied by the same (Xiao et al. 2022, "SmoothQuant", with its exponent of one half; 0.8 before attention,
where the weights bear it better: a tenth less of an error in vectors and probabilities than with a half, on posts).
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import ModelError
from workers.forward import passes
from workers.forward.lanes import LANES
from workers.forward.packing import pack
from workers.forward.passes import LEVELS, ZERO
from workers.forward.trunk import Fusing, LinearFactory, Norm, RowMap, Trunk, float_linear

SMOOTHING: Final = 0.5
SMOOTHING_OF_ATTENTION: Final = 0.8
_TRIAL_TEXTS: Final = 32
_TRIAL_TOKENS: Final = 24
Row = npt.NDArray[np.float32]


class Int8Linear(Fusing):
    """A layer of 8-bit sums by oneDNN. evened rows = middle + half · unit, so W·rows = half · (W·unit) + middle · (sum of W).

    typical: (inputs,) the root mean square of each input. wide: what ``adds_wide`` says. smoothing: the exponent of typical.
    Raises ModelError for a number of inputs or outputs that is no multiple of LANES.
    """

    def __init__(self, weight: Tensor, bias: Tensor, typical: Tensor, wide: bool, smoothing: float = SMOOTHING) -> None:
        if weight.shape[0] % LANES or weight.shape[1] % LANES:
            raise ModelError(f"a layer of {tuple(weight.shape)} cannot be had in int8: no multiples of {LANES}; use fp32")
        largest = weight.abs().amax(dim=0)
        spread = typical.clamp(min=1e-4) ** smoothing / largest.clamp(min=1e-6) ** (1 - smoothing)
        weight = weight * spread
        self.evened = 1 / spread
        self.scale = (weight.abs().amax(dim=1) if wide else largest_pair(weight)).clamp(min=1e-12) / LEVELS
        whole = (weight / self.scale[:, None]).round()
        self.packed = torch.ops.onednn.qlinear_prepack(whole.to(torch.int8), None)
        self.no_offset = torch.zeros(len(weight), dtype=torch.long)
        row_sums = whole.sum(1) * self.scale
        self._after = row_sums.numpy(), bias.clone().numpy()

    def __call__(self, rows: Tensor) -> Tensor:
        """Apply the layer to (rows, inputs) float32."""
        found, *ranges = self._multiplied(rows)
        passes.finish(found.numpy(), *ranges, *self._after)
        return found

    def curved(self, rows: Tensor) -> Tensor:
        """Return GELU of the layer."""
        found, *ranges = self._multiplied(rows)
        passes.finish_curved(found.numpy(), *ranges, *self._after)
        return found

    def normed(self, rows: Tensor, to: Tensor, norm: Norm) -> Tensor:
        """Return the norm of the layer of (rows, inputs), added to (rows, outputs)."""
        found, *ranges = self._multiplied(rows)
        passes.finish_added(found.numpy(), *ranges, *self._after, to.numpy())
        passes.norm(found.numpy(), norm.weight.numpy(), norm.bias.numpy(), norm.epsilon)
        return found

    def _multiplied(self, rows: Tensor) -> tuple[Tensor, Row, Row]:
        """Return W·unit (rows, outputs), and each row's middle and half width."""
        levels = torch.empty(rows.shape, dtype=torch.uint8)
        middles, halves = np.empty((2, len(rows)), np.float32)
        passes.to_levels(rows.numpy(), self.evened.numpy(), levels.numpy(), middles, halves)
        return self.products(levels), middles, halves

    def products(self, unit: Tensor) -> Tensor:
        """Return W·unit (rows, outputs) float32 for levels around ZERO; no post-operation, no output scale."""
        given = (unit, 1 / LEVELS, ZERO, self.packed, self.scale, self.no_offset, None)
        found: Tensor = torch.ops.onednn.qlinear_pointwise(*given, 1.0, 0, torch.float32, "none", [], "")
        return found


def largest_pair(weight: Tensor) -> Tensor:
    """Return the largest sum of like sign of two weights of a row that are added in 16 bits where sums are not wide, (outputs,).

    It adds the products of inputs 2k and 2k + 1 there. With that sum at 127 levels, and one more from rounding, the most is
    255 · 128, which does not overflow; a single large weight keeps nearly all levels.
    """
    pairs = weight.view(len(weight), -1, 2)
    return torch.maximum(pairs.clamp(min=0).sum(2).amax(1), pairs.neg().clamp(min=0).sum(2).amax(1))


def adds_wide() -> bool:
    """Return whether two neighbouring products are added in 32 bits here, as VNNI does.

    Tried, for a processor may have VNNI and oneDNN be told not to use it (``ONEDNN_MAX_CPU_ISA``).
    """
    inputs = outputs = 384
    layer = Int8Linear(torch.ones(outputs, inputs), torch.zeros(outputs), torch.ones(inputs), wide=True)
    largest = torch.full((64, inputs), 2 * ZERO - 1, dtype=torch.uint8)
    return bool((layer.products(largest) - inputs).abs().max() < 0.5)


def int8_linear(typical: Mapping[str, Tensor]) -> LinearFactory:
    """Return the factory of 8-bit layers, as fine as this processor can sum them. typical: each layer's inputs, by its name."""
    wide = adds_wide()

    def make(name: str, weight: Tensor, bias: Tensor) -> RowMap:
        smoothing = SMOOTHING_OF_ATTENTION if name.endswith("query_key_value") else SMOOTHING
        return Int8Linear(weight.float(), bias.float(), typical[name], wide, smoothing)

    return make


def typical_inputs(make: Callable[[LinearFactory], Trunk]) -> dict[str, Tensor]:
    """Return the root mean square of each input of each layer of the trunk that ``make`` builds.

    Measured on texts of tokens drawn at random, always the same: with real texts the cosine to float32 gained under 0.001.
    """
    found: dict[str, Tensor] = {}

    def recording(name: str, weight: Tensor, bias: Tensor) -> RowMap:
        layer = float_linear(torch.float32)(name, weight, bias)

        def apply(rows: Tensor) -> Tensor:
            found[name] = rows.square().mean(0).sqrt()
            return layer(rows)

        return apply

    trunk = make(recording)
    draw = np.random.default_rng(0)
    texts = draw.integers(len(trunk.words), size=(_TRIAL_TEXTS, _TRIAL_TOKENS), dtype=np.int32)
    with torch.no_grad():
        for packed in pack(list(texts), texts.size):
            trunk(packed)
    return found
