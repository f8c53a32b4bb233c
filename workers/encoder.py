"""The encoder's protocol: texts in, three answers out (``fake_encoder`` has one without weights).

The answer for a text depends on that text alone, bit for bit, whatever else is in the batch: profiles must come out the
same after a crash, when the batches are cut elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
TokenIds = npt.NDArray[np.int32]
SENTIMENTS = ("negative", "neutral", "positive")
DIMENSIONS = 384
INT8_SCHEME: Final = "int8 smoothed, more so before attention, levels by pairs, GELU by a curve"
CUT_SCHEME: Final = "sentencepiece, capitals as sentences"
"""How int8 rounds, how texts become tokens: parts of a revision's name and of kept scores; other ways give other answers."""


@dataclass(frozen=True, slots=True)
class Encodings:
    """Answers for n texts, row by row.

    vectors: (n, 384) unit vectors in the whitened space. sentiment: (n, 3) probabilities in the order of SENTIMENTS.
    intents: (n, k) probabilities in the order of ``intent_names``.
    """

    vectors: Vectors
    sentiment: Vectors
    intents: Vectors
    intent_names: tuple[str, ...]


class Encoder(Protocol):
    """One forward pass, several heads."""

    @property
    def model(self) -> str:
        """Return the model's name."""

    @property
    def revision(self) -> str:
        """Return what identifies weights, heads and whitening together."""

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the token ids of each text, cut at the model's length."""

    def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
        """Return the answers for one batch. Raises MemoryError when the batch does not fit the device."""
