"""The packed trunk by kernels of our own (``kernels``): five passes over memory a layer where torch takes a dozen.

What is rounded differs from the plain trunk: bias, GELU, residual and normalisation are finished in float32 before a row is
written. Configurations are fixed, never tuned at run time: the same text must get the same bits in every process.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
import triton  # type: ignore[import-untyped]
from torch import Tensor
from triton.errors import TritonError  # type: ignore[import-untyped]
from triton.tools.tensor_descriptor import TensorDescriptor  # type: ignore[import-untyped]

from workers.forward import kernels
from workers.forward.graphs import Compute, Plan, Shape
from workers.forward.heads import SentimentHead
from workers.forward.steady import bare
from workers.forward.trunk import Layer, Linear, Norm, Trunk

ROWS: Final = 128  # of a block
_SHARES: Final = (8, 4, 2, 1)  # of the largest bin, for what is left of a batch
_THIRD: Final = 128  # a third of the trunk's width: blocks are powers of two
_PADDED: Final = 512  # the power of two above the width


class Blocks(NamedTuple):
    """How a product is cut. outputs: of a program; inputs: of a step; stages: steps that are fetched ahead."""

    rows: int
    outputs: int
    inputs: int
    warps: int
    stages: int


class Texts(NamedTuple):
    """How attention is cut: blocks of queries and of keys, heads of a program, blocks of keys that are fetched ahead."""

    queries: int
    keys: int
    heads: int
    warps: int
    stages: int


@dataclass(frozen=True, slots=True)
class Tiling:
    """The configuration of every kernel; the fastest of some thirty each on an H200."""

    triple: Blocks = Blocks(ROWS, 128, 64, 4, 3)
    attend: Texts = Texts(64, 32, 1, 4, 3)
    attended: Blocks = Blocks(ROWS, _THIRD, 64, 8, 3)
    widen: Blocks = Blocks(ROWS, 128, 64, 8, 3)
    narrow: Blocks = Blocks(ROWS, _THIRD, 64, 8, 3)


def linear(rows: Tensor, layer: Linear, blocks: Blocks, gelu: bool = False) -> Tensor:
    """Return a layer's rows, (rows, outputs), through GELU where asked for."""
    outputs, inputs = layer.weight.shape
    out = rows.new_empty((len(rows), outputs))
    kernels.linear_kernel[(outputs // blocks.outputs, len(rows) // blocks.rows)](
        *_described(rows, layer, blocks),
        layer.bias,
        TensorDescriptor.from_tensor(out, [blocks.rows, blocks.outputs]),
        INPUTS=inputs,
        GELU=gelu,
        BLOCK_ROWS=blocks.rows,
        BLOCK_OUT=blocks.outputs,
        BLOCK_IN=blocks.inputs,
        num_warps=blocks.warps,
        num_stages=blocks.stages,
    )
    return out


def linear_norm(rows: Tensor, layer: Linear, residual: Tensor, norm: Norm, blocks: Blocks) -> Tensor:
    """Return norm(residual + layer(rows)), (rows, hidden)."""
    out = torch.empty_like(residual)
    kernels.linear_norm_kernel[(len(rows) // blocks.rows,)](
        *_described(rows, layer, blocks),
        layer.bias,
        residual,
        norm.weight,
        norm.bias,
        TensorDescriptor.from_tensor(out, [blocks.rows, blocks.outputs]),
        EPSILON=norm.epsilon,
        INPUTS=layer.weight.shape[1],
        THIRD=blocks.outputs,
        BLOCK_ROWS=blocks.rows,
        BLOCK_IN=blocks.inputs,
        num_warps=blocks.warps,
        num_stages=blocks.stages,
    )
    return out


def _described(rows: Tensor, layer: Linear, blocks: Blocks) -> tuple[TensorDescriptor, TensorDescriptor]:
    """Return both sides of a product as the memory engine knows them."""
    left = TensorDescriptor.from_tensor(rows, [blocks.rows, blocks.inputs])
    return left, TensorDescriptor.from_tensor(layer.weight, [blocks.outputs, blocks.inputs])


def attend(triples: Tensor, starts: Tensor, longest: int, heads: int, texts: Texts) -> Tensor:
    """Let every text attend to itself: (rows, 3 * hidden) to (rows, hidden); rows of no text are left as they were."""
    width = triples.shape[1] // 3
    out = triples.new_empty((len(triples), width))
    kernels.attend_kernel[(heads // texts.heads, triton.cdiv(longest, texts.queries), len(starts) - 1)](
        triples,
        starts,
        out,
        SCALE=(width // heads) ** -0.5,
        WIDTH=width,
        HEAD=width // heads,
        HEADS_EACH=texts.heads,
        BLOCK_QUERIES=texts.queries,
        BLOCK_KEYS=texts.keys,
        num_warps=texts.warps,
        num_stages=texts.stages,
    )
    return out


def embed(trunk: Trunk, ids: Tensor, places: Tensor) -> Tensor:
    """Return the rows that enter the first layer."""
    width, norm = trunk.words.shape[1], trunk.norm
    out = trunk.words.new_empty((len(ids), width))
    kernels.embed_kernel[(len(ids) // 4,)](
        ids,
        places,
        trunk.words,
        trunk.positions,
        norm.weight,
        norm.bias,
        out,
        EPSILON=norm.epsilon,
        WIDTH=width,
        PADDED=_PADDED,
        BLOCK_ROWS=4,
    )
    return out


def pool(rows: Tensor, starts: Tensor, query: Tensor) -> Tensor:
    """Return what ``graphs.pool`` does, (texts, 2 * hidden) float32; what stands for empty texts is left as it was."""
    texts, width = len(starts) - 1, rows.shape[1]
    out = torch.empty((texts, 2 * width), device=rows.device)
    kernels.pool_kernel[(texts,)](rows, starts, query, out, WIDTH=width, PADDED=_PADDED, BLOCK_ROWS=16)
    return out


class FusedLayer:
    """One transformer layer: (rows, hidden) to (rows, hidden)."""

    def __init__(self, layer: Layer, tiling: Tiling) -> None:
        self._layer = layer
        self._triple, self._attended = bare(layer.query_key_value), bare(layer.attended)
        self._widen, self._narrow = bare(layer.widen), bare(layer.narrow)
        self._tiling = tiling

    def __call__(self, rows: Tensor, starts: Tensor, longest: int) -> Tensor:
        """Apply the layer."""
        own, tiling = self._layer, self._tiling
        mixed = attend(linear(rows, self._triple, tiling.triple), starts, longest, own.heads, tiling.attend)
        rows = linear_norm(mixed, self._attended, rows, own.attention_norm, tiling.attended)
        wide = linear(rows, self._widen, tiling.widen, gelu=True)
        return linear_norm(wide, self._narrow, rows, own.output_norm, tiling.narrow)


def sizes(device: torch.device) -> list[int]:
    """Return the rows of bins: the largest has a block for every processor of the GPU, then no wave of them is half empty."""
    most = ROWS * torch.cuda.get_device_properties(device).multi_processor_count
    return [ROWS * triton.cdiv(most, ROWS * share) for share in _SHARES]


def plan(trunk: Trunk, head: SentimentHead, tiling: Tiling | None = None) -> Plan:
    """Return what computes a shape. Raises RuntimeError, when it is called, where the kernels do not compile or do not fit."""
    layers = [FusedLayer(layer, tiling or Tiling()) for layer in trunk.layers]

    def compute_for(shape: Shape) -> Compute:
        def compute(ids: Tensor, positions: Tensor, starts: Tensor) -> Tensor:
            try:
                rows = embed(trunk, ids, positions)
                for layer in layers:
                    rows = layer(rows, starts, shape.longest)
                return pool(rows, starts, head.query)
            except TritonError as error:
                raise RuntimeError(f"{type(error).__name__}: {error}") from error

        return compute

    return compute_for
