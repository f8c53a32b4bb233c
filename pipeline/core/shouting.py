"""Texts in capitals, read as sentences: what the encoder learned from is hardly ever written so, and it reads it badly.

Newswires write headlines so, and people who are angry do. Of dev headlines put into capitals the encoder got 64 % right, as
sentences again 87 % (88 as they stand).
"""

import re
import unicodedata
from string import ascii_lowercase, ascii_uppercase
from typing import Final

LEAST_CAPITALS: Final = 12  # fewer are no text
LEAST_WORDS: Final = 3
SHARE: Final = 0.7
_NO_CAPITAL: Final = bytes(set(range(256)) - set(ascii_uppercase.encode()))
_NO_SMALL: Final = bytes(set(range(256)) - set(ascii_lowercase.encode()))
_NAME: Final = re.compile(r"(\$\w+|@user\b|\bhttp\b)")  # as ``normalise`` leaves them
_WORD: Final = re.compile(r"[A-Za-z]{4,}")  # shorter ones are often abbreviations


def calmed(text: str) -> str:
    """Return a normal form as it is, or as a sentence if it shouts: cashtags stay, all but the first character is lower-cased.

    Where that is no letter, as in ``"SHARES FALL``, no capital is left: the shipped weights were measured on such texts.
    It shouts if more than ``SHARE`` of its words of four letters or more, and at least ``LEAST_WORDS``, are in capitals.
    """
    raw = text.encode("utf-8", "replace")
    capitals = len(raw.translate(None, _NO_CAPITAL))
    if capitals < LEAST_CAPITALS or capitals < len(raw.translate(None, _NO_SMALL)):
        return text  # nearly every text
    words = _WORD.findall(_NAME.sub(" ", text))
    loud = sum(map(str.isupper, words))
    if loud < LEAST_WORDS or loud <= SHARE * len(words):
        return text
    parts = _NAME.split(text)
    parts[::2] = ["".join(map(_small, part)) for part in parts[::2]]
    sentence = text[0] + "".join(parts)[1:]
    return sentence if sentence.isascii() else unicodedata.normalize("NFKC", sentence)  # small letters may take a mark in


def _small(char: str) -> str:
    """Return the small letter, if it is one: a text must not get longer."""
    small = char.lower()
    return small if len(small) == 1 else char
