"""The shared encoder: BERT on packed rows, in plain torch operations, for serving and for training alike.

Rows are tokens of many texts without padding (``workers.forward.packing``). Linear layers see rows; attention alone knows texts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

from pipeline.errors import ModelError
from workers.forward.packing import Bin

LINEARS: Final = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
_NORMS: Final = ("attention.output.LayerNorm", "output.LayerNorm")


class RowMap(Protocol):
    """A linear layer on rows: (rows, inputs) to (rows, outputs)."""

    def __call__(self, rows: Tensor) -> Tensor:
        """Apply the layer."""


@dataclass(frozen=True, slots=True)
class Linear:
    """An ordinary linear layer. weight: (outputs, inputs)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Apply the layer."""
        return linear(rows, self.weight, self.bias)


@dataclass(frozen=True, slots=True)
class Norm:
    """A layer normalisation."""

    weight: Tensor
    bias: Tensor
    epsilon: float

    def __call__(self, rows: Tensor) -> Tensor:
        """Apply it to (rows, hidden)."""
        return layer_norm(rows, (rows.shape[-1],), self.weight, self.bias, self.epsilon)


class Fusing(ABC):
    """A linear layer that does what comes after it in the same pass. No protocol: to ask for one takes ten microseconds."""

    @abstractmethod
    def __call__(self, rows: Tensor) -> Tensor:
        """Apply the layer."""

    @abstractmethod
    def curved(self, rows: Tensor) -> Tensor:
        """Return GELU of the layer."""

    @abstractmethod
    def normed(self, rows: Tensor, to: Tensor, norm: Norm) -> Tensor:
        """Return the norm of the layer of (rows, inputs), added to (rows, outputs)."""


def curved(layer: RowMap, rows: Tensor) -> Tensor:
    """Return GELU of the layer."""
    return layer.curved(rows) if isinstance(layer, Fusing) else gelu(layer(rows))


def normed(layer: RowMap, rows: Tensor, to: Tensor, norm: Norm) -> Tensor:
    """Return the norm of the layer of (rows, inputs), added to (rows, outputs)."""
    return layer.normed(rows, to, norm) if isinstance(layer, Fusing) else norm(to + layer(rows))


LinearFactory = Callable[[str, Tensor, Tensor], RowMap]
"""Makes a layer of its name, weight (outputs, inputs) and bias, both float32."""
Attend = Callable[[Tensor, int], Tensor]
"""From (rows, 3 * hidden) and the number of heads to (rows, hidden): every text attends to itself."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What of the architecture cannot be read off the weights."""

    heads: int
    layers: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Layer:
    """One transformer layer: (rows, hidden) to (rows, hidden)."""

    query_key_value: RowMap
    attended: RowMap
    attention_norm: Norm
    widen: RowMap
    narrow: RowMap
    output_norm: Norm
    heads: int

    def __call__(self, rows: Tensor, attend: Attend) -> Tensor:
        """Apply the layer."""
        mixed = attend(self.query_key_value(rows), self.heads)
        rows = normed(self.attended, mixed, rows, self.attention_norm)
        return normed(self.narrow, curved(self.widen, rows), rows, self.output_norm)


@dataclass(frozen=True, slots=True)
class Span:
    """One group of n texts of a bin, on the device.

    gather: (n * bucket,) row of each token, 0 where none stands. places and targets: (tokens,), where each token stands in
    (n * bucket) and in the bin's rows. mask: (n, 1, 1, bucket), None where every place is taken. members: (n,) places in the
    batch, on the CPU.
    """

    gather: Tensor
    places: Tensor
    targets: Tensor
    mask: Tensor | None
    texts: int
    bucket: int
    members: Tensor


Attending = Callable[[Bin, list[Span], int], Attend]
"""Makes the attention of a bin, of its spans and of how many rows there are."""


class Trunk:
    """The stack of layers over the embeddings. attending: how its texts attend to themselves; by buckets unless set."""

    def __init__(self, words: Tensor, positions: Tensor, norm: Norm, layers: list[Layer]) -> None:
        self.words = words
        self.positions = positions
        self.norm = norm
        self.layers = layers
        self.attending: Attending = lambda _packed, spans, rows: bucketed(spans, rows)

    @property
    def device(self) -> torch.device:
        """Return where the weights are."""
        return self.words.device

    def embed(self, packed: Bin) -> Tensor:
        """Return the rows that enter the first layer."""
        ids = torch.from_numpy(packed.ids).to(self.device)
        positions = torch.from_numpy(packed.positions).to(self.device)
        return self.norm(self.words[ids] + self.positions[positions])

    def __call__(self, packed: Bin) -> tuple[Tensor, list[Span]]:
        """Return the rows that leave the last layer, and where each text lies in them."""
        spans = spans_of(packed, self.device)
        rows = self.embed(packed)
        attend = self.attending(packed, spans, len(rows))
        for layer in self.layers:
            rows = layer(rows, attend)
        return rows, spans


def build(weights: Mapping[str, Tensor], sizes: Sizes, factory: LinearFactory, dtype: torch.dtype) -> Trunk:
    """Return the trunk made of the tensors of transformers' BertModel. Raises ModelError for a missing tensor."""
    try:
        words = weights["embeddings.word_embeddings.weight"].to(dtype)
        token_type = weights["embeddings.token_type_embeddings.weight"][0]
        positions = (weights["embeddings.position_embeddings.weight"] + token_type).to(dtype)
        norm = _norm(weights, "embeddings.LayerNorm", sizes.epsilon, dtype)
        layers = [_layer(weights, f"encoder.layer.{index}", sizes, factory, dtype) for index in range(sizes.layers)]
    except KeyError as error:
        raise ModelError(f"model.safetensors lacks the tensor {error}; it is not a BERT encoder") from error
    return Trunk(words, positions, norm, layers)


def bucketed(spans: list[Span], rows: int) -> Attend:
    """Return attention bucket by bucket over so many rows, on any device and in any number format."""
    gather = torch.cat([span.gather for span in spans])
    back = gather.new_zeros(rows)  # where each row stands in the buckets; one of no text takes anything
    begin = 0
    for span in spans:
        back[span.targets] = begin + span.places
        begin += len(span.gather)
    return lambda query_key_value, heads: attention(query_key_value.index_select(0, gather), spans, heads).index_select(0, back)


def attention(query_key_value: Tensor, spans: list[Span], heads: int) -> Tensor:
    """Return (places, hidden) of rows laid out in buckets (places, 3 * hidden): every text attends to itself.

    One layout for all buckets, split once: a gradient to the rows is then summed up once, not once for each of them.
    """
    mixed = []
    sizes = [len(span.gather) for span in spans]
    for span, own in zip(spans, query_key_value.split_with_sizes(sizes), strict=True):
        query, key, value = own.view(span.texts, span.bucket, 3, heads, -1).permute(2, 0, 3, 1, 4)
        attend = _attend_for_gradient if query.requires_grad else scaled_dot_product_attention
        out = attend(query, key, value, attn_mask=span.mask)
        mixed.append(out.transpose(1, 2).reshape(len(own), -1))
    return torch.cat(mixed)


def _attend_for_gradient(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None) -> Tensor:
    """Do what scaled_dot_product_attention does; on a CPU the backward pass of that takes five times as long."""
    match = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
    if attn_mask is not None:
        match = match.masked_fill(~attn_mask, float("-inf"))
    return torch.matmul(torch.softmax(match, dim=-1), value)


def spans_of(packed: Bin, device: torch.device) -> list[Span]:
    """Return the groups of a bin as tensors on the device."""
    spans = []
    for group in packed.groups:
        present = torch.from_numpy(group.present)
        rows = torch.from_numpy(group.rows).reshape(-1)
        places = present.reshape(-1).nonzero().reshape(-1)
        mask = None if bool(present.all()) else present[:, None, None, :].to(device)
        texts, bucket = group.rows.shape
        targets = rows[places].to(device)
        members = torch.from_numpy(group.members)
        spans.append(Span(rows.clamp(min=0).to(device), places.to(device), targets, mask, texts, bucket, members))
    return spans


def float_linear(dtype: torch.dtype) -> LinearFactory:
    """Return the factory of ordinary layers of a floating type."""

    return lambda _name, weight, bias: Linear(weight.to(dtype), bias.to(dtype))


def _norm(weights: Mapping[str, Tensor], name: str, epsilon: float, dtype: torch.dtype) -> Norm:
    return Norm(weights[f"{name}.weight"].to(dtype), weights[f"{name}.bias"].to(dtype), epsilon)


def _layer(weights: Mapping[str, Tensor], prefix: str, sizes: Sizes, factory: LinearFactory, dtype: torch.dtype) -> Layer:
    weight = {name: weights[f"{prefix}.{name}.weight"] for name in LINEARS}
    bias = {name: weights[f"{prefix}.{name}.bias"] for name in LINEARS}
    fused = LINEARS[:3]
    return Layer(
        query_key_value=factory(
            f"{prefix}.query_key_value", torch.cat([weight[n] for n in fused]), torch.cat([bias[n] for n in fused])
        ),
        attended=factory(f"{prefix}.{LINEARS[3]}", weight[LINEARS[3]], bias[LINEARS[3]]),
        attention_norm=_norm(weights, f"{prefix}.{_NORMS[0]}", sizes.epsilon, dtype),
        widen=factory(f"{prefix}.{LINEARS[4]}", weight[LINEARS[4]], bias[LINEARS[4]]),
        narrow=factory(f"{prefix}.{LINEARS[5]}", weight[LINEARS[5]], bias[LINEARS[5]]),
        output_norm=_norm(weights, f"{prefix}.{_NORMS[1]}", sizes.epsilon, dtype),
        heads=sizes.heads,
    )
