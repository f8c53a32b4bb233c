"""Begin a run where published weights ended: their trunk and sentiment head, and intents as their vectors show them."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import ConfigurationError
from workers.encoder import TokenIds
from workers.forward import pooling
from workers.forward.heads import load_sentiment
from workers.forward.lora import LowRankLinear
from workers.model.shipped import Shipped
from workers.training.config import TrainConfig
from workers.training.data import Prepared
from workers.training.tuned import FullLinear, TunedModel, is_intent

EXAMPLES: Final = 20  # of an intent, that its prototype is the mean of
Intents = tuple[list[TokenIds], npt.NDArray[np.int64]]


def refuse_another_shape(trained: Shipped, config: TrainConfig) -> None:
    """Raise ConfigurationError for weights that were tuned in another mode, in other layers or at another rank."""
    adapter = trained.part("adapter")
    layers, ranks = (
        {name.split(".")[2] for name in adapter},
        {len(own) for name, own in adapter.items() if name.endswith(".down")},
    )
    wanted = 0 if config.mode == "frozen" else config.lora.layers
    if len(layers) != wanted or ranks != ({config.lora.rank} if config.mode == "lora" else set()):
        raise ConfigurationError(
            f"--start: the weights of {trained.name} have another mode, rank or number of tuned layers than the recipe; "
            "take these from the config in their record.json"
        )


def begin_from(model: TunedModel, trained: Shipped) -> None:
    """Set trunk and sentiment head, without its temperatures, to trained weights of the same shape."""
    adapter, head = trained.part("adapter"), load_sentiment(trained.part("sentiment"))
    model.started = True
    model.sentiment.load_state_dict(head.state_dict() | {"cooling": torch.zeros_like(head.cooling)})
    with torch.no_grad():
        for name, layer in model.layers.items():
            own = name.replace("/", ".")
            if isinstance(layer, LowRankLinear):
                layer.down.copy_(adapter[f"{own}.down"])
                layer.up.copy_(adapter[f"{own}.up"].float() / layer.scale)
            else:
                assert isinstance(layer, FullLinear)
                layer.weight.copy_(adapter[f"{own}.weight"])
                layer.bias.copy_(adapter[f"{own}.bias"])


def examples(config: TrainConfig, sets: Sequence[Prepared]) -> dict[int, Intents]:
    """Return, by place of the set, some training texts of each of its intents, and their classes."""
    return {index: _some(one, config.seed) for index, one in enumerate(sets) if is_intent(one)}


def _some(one: Prepared, seed: int) -> Intents:
    order = np.random.default_rng(seed).permutation(len(one.tokens))
    rows = np.concatenate([order[one.classes[order] == place][:EXAMPLES] for place in range(len(one.names))])
    return [one.tokens[row] for row in rows], one.classes[rows]


def prototypes(vectors: Tensor, classes: npt.NDArray[np.int64]) -> Tensor:
    """Return the mean direction of each class, (classes, width). vectors: (n, width), of unit length."""
    sums = torch.zeros(int(classes.max()) + 1, vectors.shape[1], device=vectors.device)
    return pooling.unit(sums.index_add_(0, torch.from_numpy(classes).to(vectors.device), vectors))
