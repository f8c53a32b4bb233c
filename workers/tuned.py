"""The model while it is trained: a frozen base, what is trainable on top of it, and the losses."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout, linear

from workers import pooling
from workers.graphs import varlen
from workers.heads import SentimentHead, Whitening
from workers.lora import LowRankLinear
from workers.packing import Bin, pack
from workers.training_config import TrainConfig
from workers.training_data import Prepared
from workers.trunk import Attend, Layer, LinearFactory, RowMap, Sizes, Span, bucketed, build, float_linear, spans_of

INTENT_SCALE = 16.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of one call. sets and classes: (n,) the set of each text and its class there; targets: (n, 3) its sentiment."""

    tokens: list[object]
    sets: Tensor
    classes: Tensor
    targets: Tensor

    def at(self, order: Tensor) -> "Batch":
        """Return the texts in another order."""
        tokens = [self.tokens[place] for place in order.tolist()]
        return Batch(tokens, self.sets[order], self.classes[order], self.targets[order])


class FullLinear(nn.Module):
    """A linear layer that is trained whole. drop: share of its inputs that training leaves out."""

    def __init__(self, weight: Tensor, bias: Tensor, drop: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.float().clone())
        self.bias = nn.Parameter(bias.float().clone())
        self.drop = drop

    def forward(self, rows: Tensor) -> Tensor:
        """Apply it to (rows, inputs)."""
        return linear(dropout(rows, self.drop, self.training), self.weight.to(rows.dtype), self.bias.to(rows.dtype))


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

    def tokens_and_base(self, packed: Bin, with_base: bool) -> tuple[Tensor, Tensor | None, list[Span]]:
        """Return the rows of the tuned trunk, those of the base if asked for, and the spans."""
        spans = spans_of(packed, self.trunk.device)
        attend = self.attend(packed, spans)
        with torch.no_grad():
            rows = run_layers(self.base.layers[: self.first_tuned], self.base.embed(packed), attend)
            base = run_layers(self.base.layers[self.first_tuned :], rows, attend) if with_base else None
        return run_layers(self.trunk.layers[self.first_tuned :], rows, attend), base, spans

    def attend(self, packed: Bin, spans: list[Span]) -> Attend:
        """Return the attention for a bin: by one kernel where there is one, else bucket by bucket."""
        device = self.trunk.device
        return varlen(packed, device) if device.type == "cuda" and self.dtype == torch.bfloat16 else bucketed(spans)

    def losses(self, batch: Batch, sets: Sequence[Prepared], with_base: bool) -> dict[str, Tensor]:
        """Return the loss terms of a batch, each a mean over its texts."""
        (packed,) = pack(batch.tokens, 1 << 30)  # type: ignore[arg-type]
        rows, base_rows, spans = self.tokens_and_base(packed, with_base)
        features, means, base_means, members = [], [], [], []
        for span in spans:
            where = pooling.present(span, rows).float()
            tokens = pooling.padded(rows, span).float()
            mean = pooling.mean(tokens, where)
            means.append(mean)
            features.append(self.sentiment.features(tokens, where, mean))
            members.append(span.members)
            if base_rows is not None:
                base_means.append(pooling.mean(pooling.padded(base_rows, span).float(), where))
        mean, own = torch.cat(means), batch.at(torch.cat(members))
        terms = self._sentiment_loss(torch.cat(features), own, sets) | self._intent_loss(mean, own, sets)
        if base_means and self.whitening is not None:
            near = (self.whitening(mean) * self.whitening(torch.cat(base_means))).sum(1)
            terms["distillation"] = (1 - near).mean()
        return terms

    def intent_logits(self, index: int, mean: Tensor) -> Tensor:
        """Return the logits of the head of one intent set for mean-pooled vectors (n, hidden)."""
        assert self.whitening is not None
        return INTENT_SCALE * self.whitening(mean) @ pooling.unit(self.intents[str(index)]).T

    def _sentiment_loss(self, features: Tensor, own: Batch, sets: Sequence[Prepared]) -> dict[str, Tensor]:
        losses = []
        for index, one in enumerate(sets):
            here = (own.sets == index).nonzero().squeeze(1)
            if one.config.task != "sentiment" or not len(here):
                continue
            logits = self.sentiment(dropout(features[here.to(features.device)], self.config.dropout, self.training))
            weight = torch.from_numpy(one.weights)[own.classes[here]].to(logits.device)
            targets = own.targets[here].to(logits.device)
            losses.append(weight * cross_entropy(logits[:, one.polar], targets[:, one.polar], reduction="none"))
        return {"sentiment": torch.cat(losses).mean()} if losses else {}

    def _intent_loss(self, mean: Tensor, own: Batch, sets: Sequence[Prepared]) -> dict[str, Tensor]:
        losses = []
        for index, one in enumerate(sets):
            here = (own.sets == index).nonzero().squeeze(1)
            if not is_intent(one) or not len(here):
                continue
            logits = self.intent_logits(index, mean[here.to(mean.device)])
            losses.append(cross_entropy(logits, own.classes[here].to(mean.device), reduction="none"))
        return {"intent": torch.cat(losses).mean()} if losses else {}


def run_layers(layers: Sequence[Layer], rows: Tensor, attend: Attend) -> Tensor:
    """Return the rows after some layers."""
    for layer in layers:
        rows = layer(rows, attend)
    return rows


def is_intent(one: Prepared) -> bool:
    """Return whether a set trains a head of its own."""
    return one.config.task == "intent"
