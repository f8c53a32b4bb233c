"""An encoder without weights: hashes for vectors, a few polarity words for sentiment. For tests, demos and load.

Texts that share words have similar vectors. What it says about sentiment is right only where its few words occur.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from zlib import crc32

import numpy as np

from workers.encoder import DIMENSIONS, Encodings, TokenIds, Vectors

MAX_TOKENS = 128
ROWS = 4_096  # of the table of word vectors
SEED = 20_140_101
INTENTS = ("buy", "sell", "complain", "other")
NEGATIVE = (
    "bad crash crashed crashes drop dropped fall falls fell fraud lawsuit loss losses bankrupt bankruptcy fear hate terrible "
    "awful worst disaster scam bearish sell selloff short plunge plunged broken recall scandal angry useless refund outage "
    "暴跌 下跌 跌停 大跌 亏损 诈骗 造假 破产 丑闻 召回 失望 糟糕 垃圾 恐慌 利空 割肉 崩盘 诉讼 难用 退款 差评 愤怒"
)
POSITIVE = (
    "good great gain gains rise rises rose rally rallied love best excellent profit profits record beat beats bullish buy "
    "upgrade strong amazing win wins surge surged happy growth awesome recommend fast moon "
    "大涨 上涨 涨停 暴涨 盈利 利好 突破 喜欢 优秀 强劲 增长 推荐 好评 满意 看好 新高 牛市 开心 成功 超预期"
)
BUYING = "buy buying bought long order 买入 加仓 抄底 购买"
SELLING = "sell selling sold short dump 卖出 减仓 割肉 清仓"
COMPLAINING = "broken refund complaint useless outage terrible 退款 差评 投诉 难用 垃圾"

_WORD = re.compile(r"[a-z]+|\d+|[\u3400-\u9fff]+|[^\s\w]")
_IDEOGRAPHS = re.compile(r"[\u3400-\u9fff]")


class FakeEncoder:
    """See ``encoder.Encoder``."""

    model = "fake"
    revision = "fake-1"

    def __init__(self) -> None:
        self._table = np.random.default_rng(SEED).standard_normal((ROWS, DIMENSIONS))
        self._polarity = _ids(NEGATIVE), _ids(POSITIVE)
        self._intents = _ids(BUYING), _ids(SELLING), _ids(COMPLAINING)

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return one id per word, and one per character and pair of characters in Chinese."""
        return [_tokenize(text) for text in texts]

    def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
        """Return unit vectors from the words' hashes and softmax of word counts."""
        vectors = np.stack([self._vector(ids) for ids in tokens]) if tokens else np.zeros((0, DIMENSIONS), np.float32)
        words = [set(ids.tolist()) for ids in tokens]
        sentiment = [_softmax((len(w & self._polarity[0]), 0.5, len(w & self._polarity[1]))) for w in words]
        intents = [_softmax((*(len(w & known) for known in self._intents), 0.5)) for w in words]
        return Encodings(vectors, _rows(sentiment, 3), _rows(intents, len(INTENTS)), INTENTS)

    def _vector(self, ids: TokenIds) -> Vectors:
        total = self._table[ids % ROWS].sum(axis=0) if len(ids) else self._table[0]
        unit: Vectors = (total / np.sqrt(np.sum(total * total))).astype(np.float32)
        return unit


@lru_cache(maxsize=65_536)
def _id(word: str) -> int:
    return crc32(word.encode()) & 0x7FFF_FFFF


def _ids(words: str) -> frozenset[int]:
    return frozenset(map(_id, words.split()))


def _tokenize(text: str) -> TokenIds:
    ids: list[int] = []
    for word in _WORD.findall(text.lower()):
        ids.append(_id(word))
        if _IDEOGRAPHS.match(word):
            for size in (1, 2, 3):
                ids += [_id(word[at : at + size]) for at in range(len(word) - size + 1) if size < len(word)]
    return np.array(ids[:MAX_TOKENS], dtype=np.int32)


def _softmax(logits: Sequence[float]) -> Vectors:
    powers = np.exp(2.0 * np.array(logits))
    shares: Vectors = (powers / powers.sum()).astype(np.float32)
    return shares


def _rows(rows: Sequence[Vectors], width: int) -> Vectors:
    return np.stack(rows) if rows else np.zeros((0, width), np.float32)
