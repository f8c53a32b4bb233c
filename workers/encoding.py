"""Run texts through the model: by token budget, halved when out of memory, bisected down to the text that fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import structlog

from pipeline.errors import ModelError
from pipeline.telemetry import Metrics
from workers.batching import Batch, BatchLimits, TokenBatcher
from workers.encoder import Encoder, Encodings, TokenIds
from workers.result_cache import Answer, ResultCache

MIN_TOKENS = 64  # of a halved budget
ALL_FAIL = 32  # so many texts and not one answer: the model is broken, not the texts
# What a model may raise for one of its inputs; MemoryError is the encoder's own word for a full device.
_BLAMED = (ArithmeticError, AssertionError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)

log = structlog.get_logger()


@dataclass(slots=True)
class Encoded:
    """Answers and failures of the texts of one chunk, by key."""

    answers: dict[bytes, Answer] = field(default_factory=dict)
    failures: dict[bytes, str] = field(default_factory=dict)


class Device:
    """Feeds one encoder. One thread encodes. ``intent_names`` is known as soon as there is any answer."""

    def __init__(self, encoder: Encoder, cache: ResultCache, limits: BatchLimits, metrics: Metrics) -> None:
        self._encoder = encoder
        self._cache = cache
        self._limits = limits
        self._metrics = metrics
        self.intent_names: tuple[str, ...] = ()

    def encode(self, missing: Mapping[bytes, TokenIds]) -> Encoded:
        """Return an answer or a failure for every text. Raises ModelError where no text at all has an answer."""
        encoded = Encoded()
        batcher: TokenBatcher[bytes] = TokenBatcher(self._limits)
        for key, tokens in missing.items():
            answer = self._cache.get(key)  # the chunk before this one may have brought it
            if answer is None:
                batcher.add(key, len(tokens))
            else:
                encoded.answers[key] = answer
        for batch in batcher.flush():
            self._count(batch)
            self._encode(batch.values, missing, encoded)
        if len(encoded.failures) >= ALL_FAIL and not encoded.answers:
            failure = next(iter(encoded.failures.values()))
            raise ModelError(f"the model answers none of {len(missing)} texts ({failure}); nothing is committed")
        return encoded

    def _encode(self, keys: Sequence[bytes], missing: Mapping[bytes, TokenIds], encoded: Encoded) -> None:
        """Encode some texts together, the longest of them first; where that fails, each half by itself."""
        if len(keys) > 1 and len(keys) * len(missing[keys[0]]) > self._limits.max_tokens:
            self._encode_halves(keys, missing, encoded)  # cut before the budget was halved: to try it would halve it again
            return
        try:
            rows = self._encoder.encode([missing[key] for key in keys])
        except _BLAMED as error:
            if isinstance(error, MemoryError):
                self._halve(error)
            if len(keys) == 1:
                encoded.failures[keys[0]] = f"{type(error).__name__}: {error}"
                return
            self._encode_halves(keys, missing, encoded)
            return
        self._keep(keys, rows, encoded)

    def _encode_halves(self, keys: Sequence[bytes], missing: Mapping[bytes, TokenIds], encoded: Encoded) -> None:
        middle = len(keys) // 2
        self._encode(keys[:middle], missing, encoded)
        self._encode(keys[middle:], missing, encoded)

    def _keep(self, keys: Sequence[bytes], rows: Encodings, encoded: Encoded) -> None:
        self.intent_names = rows.intent_names
        numbers = np.hstack([rows.vectors, rows.sentiment, rows.intents])
        for row, key in enumerate(keys):
            if not np.isfinite(numbers[row]).all():
                encoded.failures[key] = "the answer is not a finite number"
                continue
            # Copies: a view would keep the whole batch in memory for as long as one of its answers is cached.
            answer = Answer(rows.vectors[row].copy(), rows.sentiment[row].copy(), rows.intents[row].copy())
            encoded.answers[key] = answer
            self._cache.put(key, answer)

    def _halve(self, error: MemoryError) -> None:
        """Make all batches from now on smaller."""
        self._limits = replace(self._limits, max_tokens=max(MIN_TOKENS, self._limits.max_tokens // 2))
        log.warning("out_of_device_memory", batch_tokens=self._limits.max_tokens, error=str(error))

    def _count(self, batch: Batch[bytes]) -> None:
        self._metrics.count("texts_encoded_total", len(batch.values))
        self._metrics.count("tokens_total", batch.tokens)
        self._metrics.count("padding_tokens_total", batch.padding)
        self._metrics.set("batch_fill_ratio", batch.fill(self._limits))
