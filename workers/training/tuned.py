"""The model while it is trained: a frozen base, what is trainable on top of it, and the losses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from workers.encoder import TokenIds
from workers.forward import pooling
from workers.forward.dropout import dropout
from workers.forward.graphs import Shape, attend_packed, exact_shape, lay_out, pool
from workers.forward.heads import SentimentHead, Whitening
from workers.forward.lora import LowRankLinear
from workers.forward.packing import Bin, pack
from workers.forward.trunk import Attend, Layer, LinearFactory, RowMap, Sizes, bucketed, build, float_linear, spans_of
from workers.training.config import TrainConfig
from workers.training.data import Prepared
from workers.training.losses import Labels, Tasks

INTENT_SCALE = 16.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of one call and their labels."""

    tokens: list[TokenIds]
    labels: Labels


class Rows(NamedTuple):
    """A bin as tensors. ids, positions, owner: (rows,); starts: (texts + 1,)."""

    ids: Tensor
    positions: Tensor
    owner: Tensor
    starts: Tensor

    def to(self, device: torch.device) -> "Rows":
        """Return them on a device that need not be waited for."""
        return Rows(*(part.to(device, non_blocking=True) for part in self))


class FullLinear(nn.Module):
    """A linear layer that is trained whole. drop: share of its inputs that training leaves out."""

    def __init__(self, weight: Tensor, bias: Tensor, drop: float) -> None:
        super().__init__()
        self.before = (weight.float(), bias.float())
        self.weight = nn.Parameter(weight.float().clone())
        self.bias = nn.Parameter(bias.float().clone())
        self.drop = drop

    def forward(self, rows: Tensor) -> Tensor:
        """Apply it to (rows, inputs)."""
        return linear(dropout(rows, self.drop, self.training), self.weight.to(rows.dtype), self.bias.to(rows.dtype))

    def scale_change(self, keep: float) -> None:
        """Keep a share of what was learned."""
        with torch.no_grad():
            for own, before in zip((self.weight, self.bias), self.before, strict=True):
                own.copy_(torch.lerp(before, own, keep))


class TunedModel(nn.Module):
    """Trunk, sentiment head and one head per intent set; ``base`` stays as it was, for distillation.

    started: whether it begins from published weights.
    """

    started = False

    def __init__(self, weights: dict[str, Tensor], sizes: Sizes, config: TrainConfig, sets: Sequence[Prepared]) -> None:
        super().__init__()
        self.dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self.config = config
        own = {name: tensor.to(self.dtype) for name, tensor in weights.items()}
        width = own["embeddings.word_embeddings.weight"].shape[1]
        self.base = build(own, sizes, float_linear(self.dtype), self.dtype)
        self.layers = nn.ModuleDict()
        self.first_tuned = sizes.layers - (config.lora.layers if config.mode != "frozen" else 0)
        self.trunk = build(own, sizes, self._factory(float_linear(self.dtype)), self.dtype)
        self.sentiment = SentimentHead(width)
        self.tasks = Tasks(sets)
        self.intents = nn.ParameterDict(
            {str(index): nn.Parameter(torch.randn(len(one.names), width)) for index, one in enumerate(sets) if is_intent(one)}
        )
        self.whitening: Whitening | None = None

    def _factory(self, frozen: LinearFactory) -> LinearFactory:
        lora = self.config.lora

        def make(name: str, weight: Tensor, bias: Tensor) -> RowMap:
            if int(name.split(".")[2]) < self.first_tuned:
                return frozen(name, weight, bias)
            layer: LowRankLinear | FullLinear
            if self.config.mode == "lora":
                after = self.config.residual_dropout if name.endswith("output.dense") else 0.0
                layer = LowRankLinear(weight, bias, lora.rank, lora.alpha / lora.rank, self.config.trunk_dropout, after)
            else:
                layer = FullLinear(weight, bias, self.config.trunk_dropout)
            self.layers[name.replace(".", "/")] = layer
            return layer

        return make

    def pooled(self, packed: Bin, with_base: bool = False) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return what the heads see of a bin's texts (n, 2 * hidden), the base's means if asked for, and the texts' places."""
        shape = exact_shape(packed)
        rows, members = rows_of(packed, shape)
        rows = rows.to(self.trunk.device)
        features, base_means = self(rows, self._attend(packed, rows.starts, shape.longest), with_base)
        return features, base_means, members

    def forward(self, packed: Rows, attend: Attend, with_base: bool) -> tuple[Tensor, Tensor | None]:
        """Return what the heads see of the texts (n, 2 * hidden), and the base's means if asked for."""
        with torch.no_grad():
            rows = self.base.norm(self.base.words[packed.ids] + self.base.positions[packed.positions])
            rows = run_layers(self.base.layers[: self.first_tuned], rows, attend)
            base = run_layers(self.base.layers[self.first_tuned :], rows, attend) if with_base else None
        rows = run_layers(self.trunk.layers[self.first_tuned :], rows, attend)
        features = pool(rows.float(), packed.owner, packed.starts, self.sentiment.query)
        if base is None:
            return features, None
        with torch.no_grad():
            return features, pool(base.float(), packed.owner, packed.starts, self.sentiment.query)[:, : base.shape[1]]

    def _attend(self, packed: Bin, starts: Tensor, longest: int) -> Attend:
        """Return the attention for a bin: by one kernel where there is one, else bucket by bucket."""
        if self.has_kernel:
            return lambda query_key_value, heads: attend_packed(query_key_value, starts, longest, heads)
        return bucketed(spans_of(packed, self.trunk.device), packed.tokens)

    @property
    def has_kernel(self) -> bool:
        """Return whether attention is one kernel for texts of all lengths."""
        return self.trunk.device.type == "cuda" and self.dtype == torch.bfloat16

    def losses(self, batch: Batch, with_base: bool) -> dict[str, Tensor]:
        """Return the loss terms of a batch, each a mean over the texts that are asked."""
        (packed,) = pack(batch.tokens, 1 << 30)
        features, base_means, order = self.pooled(packed, with_base)
        return self.terms(features, base_means, batch.labels.at(order).to(features.device))

    def terms(self, features: Tensor, base_means: Tensor | None, labels: Labels) -> dict[str, Tensor]:
        """Return the loss terms of texts by what the heads see of them."""
        mean = features[:, : features.shape[1] // 2]
        logits = self.sentiment(dropout(features, self.config.dropout, self.training))
        terms = {"sentiment": self.tasks.sentiment(logits, labels, self.config.label_smoothing)}
        intents = self._all_intents(mean) if self.intents else None
        if intents is not None:
            terms["intent"] = self.tasks.intent(intents, labels)
        if self.config.consistency:
            terms["consistency"] = self.tasks.disagreement(logits, intents, labels)
        if base_means is not None and self.whitening is not None:
            distances = 1 - (self.whitening(mean) * self.whitening(base_means)).sum(1)
            terms["distillation"] = self.tasks.apart(distances, labels)
        return terms

    def _all_intents(self, mean: Tensor) -> Tensor:
        """Return the logits of the intents of all sets, set by set, for mean-pooled vectors (n, hidden)."""
        assert self.whitening is not None
        places = sorted(self.intents, key=int)  # it keeps them sorted as text, 10 before 9
        prototypes = torch.cat([pooling.unit(self.intents[place]) for place in places])
        return INTENT_SCALE * self.whitening(mean) @ prototypes.T

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """Return the sum of the loss terms by their weights."""
        config = self.config
        weights = {"intent": config.intent_weight, "distillation": config.distillation, "consistency": config.consistency}
        return torch.stack([weights.get(name, 1.0) * value for name, value in terms.items()]).sum()

    def scale_change(self, keep: float) -> None:
        """Keep a share of what the trunk learned; the heads stay as they are."""
        for layer in self.layers.values():
            assert isinstance(layer, LowRankLinear | FullLinear)
            layer.scale_change(keep)

    def intent_logits(self, index: int, mean: Tensor) -> Tensor:
        """Return the logits of the head of one intent set for mean-pooled vectors (n, hidden)."""
        assert self.whitening is not None
        return INTENT_SCALE * self.whitening(mean) @ pooling.unit(self.intents[str(index)]).T


def rows_of(packed: Bin, shape: Shape) -> tuple[Rows, Tensor]:
    """Return a bin laid out in a shape, and the places of its texts in the batch."""
    layout = lay_out(packed, shape)
    parts = (layout.ids, layout.positions, layout.owner, layout.starts)
    return Rows(*map(torch.from_numpy, parts)), torch.from_numpy(layout.members)


def run_layers(layers: Sequence[Layer], rows: Tensor, attend: Attend) -> Tensor:
    """Return the rows after some layers."""
    for layer in layers:
        rows = layer(rows, attend)
    return rows


def is_intent(one: Prepared) -> bool:
    """Return whether a set trains a head of its own."""
    return one.config.task == "intent"
