"""New weights while a worker runs: noticed by their record, loaded beside the work, taken over between two chunks.

Weights that cannot be loaded, or that give vectors of another space than the profiles hold, are refused: the worker says
so and goes on with the ones it has. So a bad publication stops nobody and loses no record. Those that could not be loaded
are tried again after minutes, since a full disk or a full memory is no fault of theirs.
"""

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from pipeline.errors import GroundswellError
from pipeline.telemetry import Metrics
from workers.effects import ModelName
from workers.encoder import Encoder
from workers.encoding import Device
from workers.preparing import Preparation
from workers.result_cache import ResultCache
from workers.rules import WorkerRules

LOOK_EVERY_S: Final = 5.0
TRY_AGAIN_S: Final = 300.0

log = structlog.get_logger()


class Weights(NamedTuple):
    """An encoder, and the name of the space its vectors lie in: other heads on the same trunk keep it."""

    encoder: Encoder
    space: str


class Model:
    """The encoder in use, with what belongs to it alone: its cache, its preparation, its device."""

    def __init__(self, weights: Weights, rules: WorkerRules, metrics: Metrics) -> None:
        self._encoder = weights.encoder
        cache = ResultCache(rules.cache_bytes, weights.encoder.revision)
        self.preparation = Preparation(weights.encoder, cache, rules.topics)
        self.device = Device(weights.encoder, cache, rules.limits, metrics)
        self.profile_spec = rules.profile_spec(weights.space)

    @property
    def name(self) -> ModelName:
        """Return what stands on every scored post."""
        return ModelName(self._encoder.model, self._encoder.revision, self.device.intent_names)


class Watcher:
    """Loads the first weights, looks every few seconds whether others were published, and loads those on its own thread.

    any_space: profiles begin anew where they are of another space, so such weights are taken over too.
    """

    def __init__(self, record: Path, load: Callable[[], Weights], clock_s: Callable[[], float], any_space: bool) -> None:
        self._any_space = any_space
        self._record = record
        self._load = load
        self._clock_s = clock_s
        self._seen = self._mark()  # before they are loaded: what is published meanwhile is news
        self.using = load()
        self._look_at_s = clock_s() + LOOK_EVERY_S
        self._try_again_s = inf
        self._loading: Future[Weights] | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="weights")

    def close(self) -> None:
        """Stop looking."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def poll(self) -> Weights | None:
        """Return new weights once, when they are loaded; never wait for them."""
        if self._loading is not None:
            return self._taken() if self._loading.done() else None
        if self._clock_s() >= self._look_at_s:
            self._look_at_s = self._clock_s() + LOOK_EVERY_S
            mark = self._mark()
            if mark is not None and (mark != self._seen or self._clock_s() >= self._try_again_s):
                self._seen, self._try_again_s = mark, inf
                self._loading = self._thread.submit(self._load)
        return None

    def _mark(self) -> str | None:
        """Return what changes with every publication; None in the moment in which one takes the other's place."""
        try:
            return hashlib.sha256(self._record.read_bytes()).hexdigest()
        except OSError:
            return None

    def _taken(self) -> Weights | None:
        loading, self._loading = self._loading, None
        assert loading is not None
        try:
            found = loading.result()
        except (GroundswellError, OSError, RuntimeError, MemoryError) as error:  # torch's words for a full memory too
            self._try_again_s = self._clock_s() + TRY_AGAIN_S
            log.error("weights_refused", error=str(error) or repr(error), still_using=self.using.encoder.revision)
            return None
        return self._accepted(found)

    def _accepted(self, found: Weights) -> Weights | None:
        before, after = self.using.encoder.revision, found.encoder.revision
        if after == before:
            return None
        if found.space != self.using.space and not self._any_space:
            reason = "their vectors do not go with the profiles that are there; restart the worker with --restart-profiles"
            log.error("weights_refused", error=reason, refused=after, still_using=before)
            return None
        self.using = found
        log.info("weights_reloaded", revision=after, before=before)
        return found
