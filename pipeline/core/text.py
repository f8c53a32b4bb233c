"""What a text is, to the model and to the de-duplication: the normal form, its key, and its content fingerprint.

What is hashed is what is encoded: callers make a text readable once and hand that to cache and tokenizer alike.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from pipeline.core.shouting import calmed

MAX_CHARS = 4_096  # 512 tokens, the longest the model takes, are never longer in practice
MAX_COMBINING = 4  # marks on one letter; real scripts stack three, attackers thousands
MAX_NON_STARTERS = 30  # in a row: Unicode's stream-safe text format (UAX #15), which no language's words exceed
CACHED_FEATURE_CHARS = 64  # words are shorter; what is longer is hashed each time, so that the cache stays small in bytes

_SPACES = re.compile(r"\s+")
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_MARK = r"[\u0300-\u036f\u0483-\u0489\u20d0-\u20ff]"
_MENTION = re.compile(rf"(?<![\w@])(?:@\w{{1,30}}(?:{_MARK})*)+")
_COMBINING_RUN = re.compile(f"({_MARK}{{{MAX_COMBINING}}}){_MARK}+")
_PERHAPS_STACKED = re.compile(rf"(?:[^\w\s\x00-\x7f]|[\uff9e\uff9f]){{{MAX_NON_STARTERS + 1},}}")  # all non-starters, and more
_REPOST = re.compile(r"^(?:rt\s+@user\s*:?\s*)+|(?:转发微博|//@user:?)")
_CASHTAG_LIST = re.compile(r"(?:\$[a-z][\w.]*[\s,]*){2,}")
_CASHTAG = re.compile(r"\$[^\W\d_]")
_WORD = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7af]+|[^\W_]+")
_IDEOGRAPH = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7af]")


def normalise(text: str) -> str:
    """Return the normal form: NFKC, no invisible characters, links as ``http``, mentions as ``@user``, single spaces.

    Invisible characters (controls, zero-width, bidirectional marks, tags, variation selectors) cannot change a score.
    The result is at most MAX_CHARS long and may be empty.
    """
    text = _nfkc(text[: 4 * MAX_CHARS])
    if not text.isascii() or not text.isprintable():
        visible = "".join(map(_visible, text))
        text = _COMBINING_RUN.sub(r"\1", _nfkc(visible))  # letters and marks that met may compose now
    text = _MENTION.sub("@user ", _URL.sub("http", text))
    return _SPACES.sub(" ", text).strip()[:MAX_CHARS].rstrip()


def readable(text: str) -> str:
    """Return what an encoder reads of a text: its normal form, but a sentence where that is in capitals.

    Names in a text are looked for in the normal form, since some are told by their capitals.
    """
    return calmed(normalise(text))


def _nfkc(text: str) -> str:
    """Return NFKC in linear time and at most 4 * MAX_CHARS long.

    Sorting a run of non-starters takes the square of its length, and one character may become eighteen. Texts without
    such runs, which is all that people write, come out as plain NFKC: fingerprints and revisions depend on it.
    """
    return unicodedata.normalize("NFKC", _PERHAPS_STACKED.sub(_stream_safe, text))[: 4 * MAX_CHARS]


def _stream_safe(run: re.Match[str]) -> str:
    """Return the characters without those that follow MAX_NON_STARTERS non-starters."""
    kept, in_a_row = [], 0
    for char in run[0]:
        in_a_row = in_a_row + 1 if _is_non_starter(char) else 0
        if in_a_row <= MAX_NON_STARTERS:
            kept.append(char)
    return "".join(kept)


@lru_cache(maxsize=2_048)
def _is_non_starter(char: str) -> bool:
    """Return whether NFKC sorts a character among the marks before it; such a one is nothing but marks when taken apart."""
    return unicodedata.combining(unicodedata.normalize("NFKD", char)[0]) > 0


@lru_cache(maxsize=65_536)
def _visible(char: str) -> str:
    if char.isspace():
        return " "
    if "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef":
        return ""
    category = unicodedata.category(char)
    if category == "Cc":
        return " "
    return "" if category in {"Cf", "Cs", "Co", "Cn"} else char


def is_unicode(text: str) -> bool:
    """Return whether a text can be written down: JSON and YAML let half a surrogate pair through, which no file can hold."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def content_key(normalised: str) -> bytes:
    """Return 16 bytes that stand for a normal form, for caches."""
    return blake2b(normalised.encode(), digest_size=16).digest()


def simhash(normalised: str) -> str:
    """Return the 64-bit content fingerprint of a normal form as 16 hex digits.

    Charikar's SimHash (STOC 2002) over lower-cased words and word pairs; ideographs count in pairs of characters.
    Repost marks, links and runs of cashtags carry no content. Near-identical texts differ in few bits.
    """
    features = sorted(set(_features(normalised)))
    if not features:
        return blake2b(normalised.encode(), digest_size=8).hexdigest()
    hashes = b"".join(_cached_hash(one) if len(one) <= CACHED_FEATURE_CHARS else _feature_hash(one) for one in features)
    bits = np.unpackbits(np.frombuffer(hashes, dtype=np.uint8).reshape(-1, 8), axis=1)
    majority = 2 * bits.sum(axis=0, dtype=np.int64) > len(features)
    return np.packbits(majority).tobytes().hex()


def _feature_hash(feature: str) -> bytes:
    return blake2b(feature.encode(), digest_size=8).digest()


_cached_hash = lru_cache(maxsize=262_144)(_feature_hash)


def _features(normalised: str) -> Iterable[str]:
    content = _CASHTAG_LIST.sub(" ", _REPOST.sub(" ", normalised.lower()).replace("http", " "))
    words = _WORD.findall(content)
    for word in words:
        if _IDEOGRAPH.match(word):
            yield from (word[i : i + 2] for i in range(max(1, len(word) - 1)))
        else:
            yield word
    yield from (f"{left} {right}" for left, right in zip(words, words[1:], strict=False))


def is_list(text: str, most_names: int) -> bool:
    """Return whether a text names more than ``most_names`` by cashtag: a list, which says little of anyone on it."""
    return text.count("$") > most_names and len(_CASHTAG.findall(text)) > most_names
