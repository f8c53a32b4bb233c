"""Run texts through the model: by token budget, halved when out of memory, bisected down to the text that fails.

A text that fails alone is blamed only where the model answers a short text that it must know. Where it does not, the device
is broken and not the text, and the worker stops before honest texts become dead letters one by one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import structlog

from pipeline.errors import ModelError
from pipeline.telemetry import Metrics
from workers.batching import Batch, BatchLimits, TokenBatcher
from workers.encoder import Encoder, Encodings, TokenIds
from workers.result_cache import Answer, ResultCache

MIN_TOKENS = 64  # of a halved budget
GROWS_AFTER = 100  # batches that fit; so a budget that is too large for good costs one failure in so many
PROBE: Final = "good morning"
# What a model may raise for one of its inputs; MemoryError is the encoder's own word for a full device.
_BLAMED = (ArithmeticError, AssertionError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
_NOT_FINITE: Final = "the answer is not a finite number"

log = structlog.get_logger()


@dataclass(slots=True)
class Encoded:
    """Answers and failures of the texts of one chunk, by key."""

    answers: dict[bytes, Answer] = field(default_factory=dict)
    failures: dict[bytes, str] = field(default_factory=dict)


class Budget:
    """How many tokens go to the device together: half as many after a batch that did not fit, twice as many after many fits."""

    def __init__(self, limits: BatchLimits) -> None:
        self.limits = limits
        self._configured = limits.max_tokens
        self._halved = False
        self._fitted = 0

    def begin(self) -> None:
        """Note that a new batch begins; it halves the budget once, however often it is cut."""
        self._halved = False

    def failed(self, error: MemoryError) -> None:
        """Make the batches from now on smaller."""
        self._fitted = 0
        if not self._halved:
            self._halved = True
            self._set(max(MIN_TOKENS, self.limits.max_tokens // 2))
            log.warning("out_of_device_memory", batch_tokens=self.limits.max_tokens, error=str(error))

    def fitted(self) -> None:
        """Make the batches larger again after some that fitted: another process may have left the device."""
        self._fitted += 1
        if self._fitted >= GROWS_AFTER and self.limits.max_tokens < self._configured:
            self._fitted = 0
            self._set(min(self._configured, self.limits.max_tokens * 2))
            log.info("batches_grow_again", batch_tokens=self.limits.max_tokens)

    def _set(self, tokens: int) -> None:
        self.limits = replace(self.limits, max_tokens=tokens)


class Device:
    """Feeds one encoder. One thread encodes. ``intent_names`` is known as soon as there is any answer."""

    def __init__(self, encoder: Encoder, cache: ResultCache, limits: BatchLimits, metrics: Metrics) -> None:
        self._encoder = encoder
        self._cache = cache
        self._budget = Budget(limits)
        self._metrics = metrics
        self.intent_names: tuple[str, ...] = ()

    def encode(self, missing: Mapping[bytes, TokenIds]) -> Encoded:
        """Return an answer or a failure for every text. Raises ModelError where the model answers no text any more."""
        encoded = Encoded()
        batcher: TokenBatcher[bytes] = TokenBatcher(self._budget.limits)
        for key, tokens in missing.items():
            answer = self._cache.get(key)  # the chunk before this one may have brought it
            if answer is None:
                batcher.add(key, len(tokens))
            else:
                encoded.answers[key] = answer
        for batch in batcher.flush():
            self._count(batch)
            self._budget.begin()
            self._encode(batch.values, missing, encoded)
        return encoded

    def _encode(self, keys: Sequence[bytes], missing: Mapping[bytes, TokenIds], encoded: Encoded) -> None:
        """Encode some texts together, the longest of them first; where that fails, each half by itself."""
        if len(keys) > 1 and len(keys) * len(missing[keys[0]]) > self._budget.limits.max_tokens:
            self._encode_halves(keys, missing, encoded)  # cut before the budget was halved: to try it would halve it again
            return
        try:
            rows = self._rows([missing[key] for key in keys])
        except _BLAMED as error:
            if len(keys) > 1:
                self._encode_halves(keys, missing, encoded)
                return
            failure = f"{type(error).__name__}: {error}"
            self._check_model(failure)
            encoded.failures[keys[0]] = failure
            return
        self._keep(keys, rows, encoded)

    def _encode_halves(self, keys: Sequence[bytes], missing: Mapping[bytes, TokenIds], encoded: Encoded) -> None:
        middle = len(keys) // 2
        self._encode(keys[:middle], missing, encoded)
        self._encode(keys[middle:], missing, encoded)

    def _rows(self, tokens: Sequence[TokenIds]) -> Encodings:
        """Return the model's rows; a single text that does not fit is tried once more, for the lack may have passed."""
        try:
            rows = self._encoder.encode(tokens)
        except MemoryError as error:
            self._budget.failed(error)
            if len(tokens) > 1:
                raise
            rows = self._encoder.encode(tokens)
        self._budget.fitted()
        return rows

    def _keep(self, keys: Sequence[bytes], rows: Encodings, encoded: Encoded) -> None:
        self.intent_names = rows.intent_names
        finite = _finite(rows)
        if not all(finite):
            self._check_model(_NOT_FINITE)
        for row, key in enumerate(keys):
            if not finite[row]:
                encoded.failures[key] = _NOT_FINITE
                continue
            # Copies: a view would keep the whole batch in memory for as long as one of its answers is cached.
            answer = Answer(rows.vectors[row].copy(), rows.sentiment[row].copy(), rows.intents[row].copy())
            encoded.answers[key] = answer
            self._cache.put(key, answer)

    def _check_model(self, failure: str) -> None:
        """Raise ModelError where the model does not answer a text that it must know: it is broken then, not the text."""
        try:
            broken = not all(_finite(self._encoder.encode(self._encoder.tokenize([PROBE]))))
        except _BLAMED:
            broken = True
        if broken:
            raise ModelError(f"the model answers nothing, not even {PROBE!r} ({failure}); nothing is committed")

    def _count(self, batch: Batch[bytes]) -> None:
        self._metrics.count("texts_encoded_total", len(batch.values))
        self._metrics.count("tokens_total", batch.tokens)
        self._metrics.count("padding_tokens_total", batch.padding)
        self._metrics.set("batch_fill_ratio", batch.fill(self._budget.limits))


def _finite(rows: Encodings) -> list[bool]:
    """Return for each row whether all its numbers are finite."""
    numbers = np.hstack([rows.vectors, rows.sentiment, rows.intents])
    return [bool(np.isfinite(row).all()) for row in numbers]
