"""Texts altered at random, cheaply and in any language, so that a model in training sees more than it was given. Pure."""

import unicodedata
from dataclasses import dataclass

import numpy as np

from pipeline.core.text import readable

_KEPT_MARKS = frozenset("@#")  # @user is a token of the normal form, a hash mark belongs to its tag


@dataclass(frozen=True, slots=True)
class Chances:
    """How likely a text is to lose its capitals and its punctuation, and each of its words and characters to be dropped."""

    casing: float
    punctuation: float
    words: float
    characters: float


def altered(text: str, chances: Chances, draw: np.random.Generator) -> str:
    """Return a normal form altered by chance; the same draws give the same text, and something is always left of it."""
    changed = text
    if draw.random() < chances.casing:
        changed = changed.lower() if draw.random() < 0.5 else changed.upper()
    if draw.random() < chances.punctuation:
        changed = "".join(char for char in changed if not _is_punctuation(char))
    changed = " ".join(_thinned(changed.split(" "), chances.words, draw))
    return readable("".join(_thinned(list(changed), chances.characters, draw))) or text


def _thinned(parts: list[str], chance: float, draw: np.random.Generator) -> list[str]:
    kept = draw.random(len(parts)) >= chance
    return [part for part, keep in zip(parts, kept, strict=True) if keep] or parts


def _is_punctuation(char: str) -> bool:
    return unicodedata.category(char).startswith("P") and char not in _KEPT_MARKS
