"""What is read off a text: the whitened vector and the sentiment. Plain torch modules, float32.

The sentiment head sees the mean of the tokens and an average of its own choosing (one learned query), so that it can find
what the mean hides; the vector stays the plain mean, as the base model was trained.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from pipeline.errors import ModelError
from workers.encoder import DIMENSIONS
from workers.forward import pooling

HIDDEN_UNITS: Final = 256
SHRINKAGE: Final = 0.05
COOLEST: Final = 2.0


@dataclass(frozen=True, slots=True)
class Whitening:
    """A frozen linear map after which the training texts' vectors have no common direction. matrix: (384, 384)."""

    mean: Tensor
    matrix: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return unit vectors in the whitened space; (n, 384) to (n, 384)."""
        return pooling.unit(torch.matmul(pooling.unit(vectors) - self.mean, self.matrix))

    def to(self, device: torch.device) -> "Whitening":
        """Return the map on a device."""
        return Whitening(self.mean.to(device), self.matrix.to(device))


def fit_whitening(vectors: Tensor, shrinkage: float = SHRINKAGE) -> Whitening:
    """Return the whitening of raw mean-pooled vectors (n, 384): ZCA with the covariance shrunk to its mean variance.

    Su et al. 2021, "Whitening sentence representations"; the shrinkage keeps directions that hold only noise small.
    """
    unit = pooling.unit(vectors.double())
    mean = unit.mean(0)
    centred = unit - mean
    covariance = centred.T @ centred / len(unit)
    variance, directions = torch.linalg.eigh(covariance)
    shrunk = (1 - shrinkage) * variance + shrinkage * variance.mean()
    matrix = directions @ torch.diag(shrunk.rsqrt()) @ directions.T
    return Whitening(mean.float(), (matrix / matrix.norm() * matrix.shape[0] ** 0.5).float())


class SentimentHead(nn.Module):
    """Tokens of texts to three logits, in the order of SENTIMENTS.

    cooling: (units + 1,) what the logarithm of a text's temperature is made of, an offset last; zeros until calibration.
    """

    cooling: Tensor

    def __init__(self, width: int, units: int = HIDDEN_UNITS) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(2 * width)
        self.hidden = nn.Linear(2 * width, units)
        self.out = nn.Linear(units, 3)
        self.register_buffer("cooling", torch.zeros(units + 1))

    def features(self, tokens: Tensor, where: Tensor, mean: Tensor) -> Tensor:
        """Return (texts, 2 * width): the mean and the head's own average."""
        return torch.cat([mean, pooling.attended(tokens, where, self.query)], dim=1)

    def seen(self, features: Tensor) -> Tensor:
        """Return what the head makes of the features, (texts, units)."""
        return gelu(self.hidden(self.norm(features)))

    def answer(self, seen: Tensor, aside: Tensor | float = 0.0) -> Tensor:
        """Return logits (texts, 3), divided by each text's temperature: which class leads does not change by that.

        aside: (texts, 3) what the words say by themselves (``workers.model.wording``), added before the division.
        """
        logits: Tensor = (self.out(seen) + aside) / temperature(seen, self.cooling)
        return logits

    def forward(self, features: Tensor, aside: Tensor | float = 0.0) -> Tensor:
        """Return logits (texts, 3)."""
        return self.answer(self.seen(features), aside)


def temperature(seen: Tensor, cooling: Tensor) -> Tensor:
    """Return how much less sure the head is to be of each text, (texts, 1).

    Some kinds of text deceive a head more than others, and a text's kind can be read off it (Joy et al. 2023, "Sample-dependent
    adaptive temperature scaling"); here the logarithm is linear, within bounds.
    """
    return (seen @ cooling[:-1] + cooling[-1]).clamp(-COOLEST, COOLEST).exp()[:, None]


def load_whitening(tensors: Mapping[str, Tensor]) -> Whitening:
    """Return the map from its tensors. Raises ModelError when it does not fit."""
    try:
        found = Whitening(tensors["mean"].float(), tensors["matrix"].float())
    except KeyError as error:
        raise ModelError(f"the whitening lacks {error}; train again or reinstall") from error
    if (shapes := (found.mean.shape, found.matrix.shape)) != ((DIMENSIONS,), (DIMENSIONS, DIMENSIONS)):
        raise ModelError(f"the whitening is of {', '.join(str(tuple(shape)) for shape in shapes)}; train again or reinstall")
    return found


def load_sentiment(tensors: Mapping[str, Tensor]) -> SentimentHead:
    """Return the head from its tensors. Raises ModelError when it does not fit."""
    own = {name: value.float() for name, value in tensors.items()}
    try:
        head = SentimentHead(own["query"].shape[0], own["hidden.weight"].shape[0])
        head.load_state_dict(own)
    except (KeyError, RuntimeError) as error:
        raise ModelError(f"the sentiment head does not fit ({error}); train again or reinstall") from error
    return head.eval().requires_grad_(False)
