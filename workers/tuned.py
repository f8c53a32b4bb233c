"""The model while it is trained: a frozen base, what is trainable on top of it, and the losses."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, linear

from workers import pooling
from workers.encoder import TokenIds
from workers.graphs import Shape, attend_packed, exact_shape, lay_out, pool
from workers.heads import SentimentHead, Whitening
from workers.lora import LowRankLinear
from workers.packing import Bin, pack
from workers.training_config import TrainConfig
from workers.training_data import NEUTRAL, Prepared
from workers.trunk import Attend, Layer, LinearFactory, RowMap, Sizes, bucketed, build, float_linear, spans_of

INTENT_SCALE = 16.0


@dataclass(frozen=True, slots=True)
class Labels:
    """What texts should be answered. sets and classes: (n,) the set of each text, and its class there."""

    sets: Tensor
    classes: Tensor

    def at(self, order: Tensor) -> "Labels":
        """Return them in another order."""
        return Labels(self.sets[order], self.classes[order])

    def of(self, index: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the places of one set's texts and their classes, on a device that need not be waited for."""
        places = (self.sets == index).nonzero().squeeze(1)
        return places.to(device, non_blocking=True), self.classes[places].to(device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of one call and their labels."""

    tokens: list[TokenIds]
    labels: Labels


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
    """Trunk, sentiment head and one head per intent set; ``base`` stays as it was, for distillation."""

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
                layer = LowRankLinear(weight, bias, lora.rank, lora.alpha / lora.rank, self.config.trunk_dropout)
            else:
                layer = FullLinear(weight, bias, self.config.trunk_dropout)
            self.layers[name.replace(".", "/")] = layer
            return layer

        return make

    def pooled(self, packed: Bin, with_base: bool = False) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return what the heads see of a bin's texts (n, 2 * hidden), the base's means if asked for, and the texts' places."""
        shape = exact_shape(packed)
        layout, device = lay_out(packed, shape), self.trunk.device
        ids, positions, owner, starts = (
            torch.from_numpy(part).to(device, non_blocking=True)
            for part in (layout.ids, layout.positions, layout.owner, layout.starts)
        )
        attend = self._attend(packed, starts, shape)
        with torch.no_grad():
            rows = self.base.norm(self.base.words[ids] + self.base.positions[positions])
            rows = run_layers(self.base.layers[: self.first_tuned], rows, attend)
            base = run_layers(self.base.layers[self.first_tuned :], rows, attend) if with_base else None
            base_means = None if base is None else pool(base.float(), owner, starts, self.sentiment.query)[:, : base.shape[1]]
        rows = run_layers(self.trunk.layers[self.first_tuned :], rows, attend)
        return pool(rows.float(), owner, starts, self.sentiment.query), base_means, torch.from_numpy(layout.members)

    def _attend(self, packed: Bin, starts: Tensor, shape: Shape) -> Attend:
        """Return the attention for a bin: by one kernel where there is one, else bucket by bucket."""
        if self.trunk.device.type == "cuda" and self.dtype == torch.bfloat16:
            return lambda query_key_value, heads: attend_packed(query_key_value, starts, shape.longest, heads)
        return bucketed(spans_of(packed, self.trunk.device))

    def losses(self, batch: Batch, sets: Sequence[Prepared], with_base: bool) -> dict[str, Tensor]:
        """Return the loss terms of a batch, each a mean over its texts."""
        (packed,) = pack(batch.tokens, 1 << 30)
        features, base_means, order = self.pooled(packed, with_base)
        labels, mean = batch.labels.at(order), features[:, : features.shape[1] // 2]
        terms = self._sentiment_loss(features, labels, sets) | self._intent_loss(mean, labels, sets)
        if base_means is not None and self.whitening is not None:
            terms["distillation"] = (1 - (self.whitening(mean) * self.whitening(base_means)).sum(1)).mean()
        return terms

    def scale_change(self, keep: float) -> None:
        """Keep a share of what the trunk learned; the heads stay as they are."""
        for layer in self.layers.values():
            assert isinstance(layer, LowRankLinear | FullLinear)
            layer.scale_change(keep)

    def intent_logits(self, index: int, mean: Tensor) -> Tensor:
        """Return the logits of the head of one intent set for mean-pooled vectors (n, hidden)."""
        assert self.whitening is not None
        return INTENT_SCALE * self.whitening(mean) @ pooling.unit(self.intents[str(index)]).T

    def _sentiment_loss(self, features: Tensor, labels: Labels, sets: Sequence[Prepared]) -> dict[str, Tensor]:
        losses = []
        for index, one in enumerate(sets):
            places, target = labels.of(index, features.device)
            if one.config.task != "sentiment" or not len(places):
                continue
            logits = self.sentiment(dropout(features[places], self.config.dropout, self.training))
            weight = torch.from_numpy(one.weights).to(features.device, non_blocking=True)
            if one.two_class:
                logits, target, weight = logits[:, [0, 2]], (target > NEUTRAL).long(), weight[[0, 2]]
            each = cross_entropy(logits, target, reduction="none", label_smoothing=self.config.label_smoothing)
            losses.append(each * weight[target])
        return {"sentiment": torch.cat(losses).mean()} if losses else {}

    def _intent_loss(self, mean: Tensor, labels: Labels, sets: Sequence[Prepared]) -> dict[str, Tensor]:
        losses = []
        for index, one in enumerate(sets):
            places, target = labels.of(index, mean.device)
            if is_intent(one) and len(places):
                losses.append(cross_entropy(self.intent_logits(index, mean[places]), target, reduction="none"))
        return {"intent": torch.cat(losses).mean()} if losses else {}


def run_layers(layers: Sequence[Layer], rows: Tensor, attend: Attend) -> Tensor:
    """Return the rows after some layers."""
    for layer in layers:
        rows = layer(rows, attend)
    return rows


def is_intent(one: Prepared) -> bool:
    """Return whether a set trains a head of its own."""
    return one.config.task == "intent"
