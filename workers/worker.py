"""The consume loop: poll, prepare, encode, make durable, commit.

One chunk of records is on the device, by a thread of its own, while the loop polls and prepares the next one and carries
out the effects of the one before. The order of effects is what the delivery guarantee rests on: profiles (fenced), scored
posts and dead letters (every write awaited), progress counters, and only then the commit. A crash between any two of them
means a redelivery, which changes nothing: see ``workers.effects`` and ``pipeline.adapters.stores``.

While the device computes or a server is away, the source is paused and polled, so that the group keeps this member.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import structlog

from pipeline.adapters.health import Readiness
from pipeline.adapters.stores import ProfileStore
from pipeline.adapters.streams import Record, Sink, Source, TopicPartition
from pipeline.errors import Unavailable
from pipeline.telemetry import Metrics
from workers.accounting import RecordWatch, Totals
from workers.effects import EffectRules, Effects
from workers.encoder import Encoder
from workers.encoding import Encoded
from workers.entity_linking import EntityLinker
from workers.gathering import Gathering
from workers.handover import Handover
from workers.positions import Positions, first_offsets
from workers.preparing import Chunk
from workers.reloading import Model, Weights
from workers.rules import Clock, WorkerRules

KEEP_ALIVE_S = 0.2  # between polls while the device computes
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0  # between tries at a server that does not answer
LAG_EVERY_S = 5.0
UNASSIGNED_S = 30.0  # how long ``until_idle`` waits for partitions before it takes having none for idleness

log = structlog.get_logger()
Result = TypeVar("Result")


class Connections(NamedTuple):
    """Where records come from and where effects go."""

    source: Source
    sink: Sink
    store: ProfileStore


class Brain(NamedTuple):
    """What reads a text: the model, and the dictionary of entities. ``fresh`` gives new weights when there are some."""

    encoder: Encoder
    linker: EntityLinker
    space: str | None = None
    fresh: Callable[[], Weights | None] = lambda: None


class _Flight(NamedTuple):
    """A chunk on the device."""

    chunk: Chunk
    future: "Future[Encoded]"


class Worker:
    """One member of the consumer group. Opens and closes nothing that it was given."""

    def __init__(self, connections: Connections, brain: Brain, rules: WorkerRules, metrics: Metrics, clock: Clock) -> None:
        self._source, self._sink, self._store = connections
        self._rules = rules
        self._metrics = metrics
        self._clock = clock
        space = brain.encoder.revision if brain.space is None else brain.space
        self._model = Model(Weights(brain.encoder, space), rules, metrics)
        self._fresh = brain.fresh
        self._effect_rules = EffectRules(rules, brain.linker)
        self._watch = RecordWatch(metrics, rules.topics, rules.stuck_after_s)
        self._positions = Positions(self._store, self._source.assignments)
        self._handover = Handover(self._source, rules.drain_timeout_s, clock.monotonic_s)
        self._gathering = Gathering(self._take, lambda: self._stop.is_set() or self._handover.holds(), rules, clock.monotonic_s)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="device")
        self._flight: _Flight | None = None
        self._stop = threading.Event()
        self._deadline_s: float | None = None
        self._lag_at_s = -LAG_EVERY_S

    @property
    def totals(self) -> Totals:
        """Return the counts of this worker's records since its start."""
        return self._watch.totals

    def readiness(self) -> Readiness:
        """Return whether records move. Any thread may ask."""
        return self._watch.readiness(self._clock.monotonic_s())

    def step(self) -> bool:
        """Take what the source has, start it on the device, finish the chunk before; return whether there was any work."""
        fresh = self._fresh()
        if fresh is not None or (self._flight is not None and self._handover.holds()):
            self._empty()
        if fresh is not None:
            self._model = Model(fresh, self._rules, self._metrics)
        chunk = self._gathering.chunk(None if self._flight is None else self._flight.future)
        landed = self._land()
        if chunk is not None:
            self._watch.started(chunk)
            self._flight = _Flight(chunk, self._thread.submit(self._encode, chunk))
        if landed is not None:
            self._finish(*landed)
        self._look_around()
        return chunk is not None or landed is not None

    def run(self, stop: threading.Event, until_idle: bool = False) -> None:
        """Work until ``stop`` is set, or until nothing is left to read; then finish what is in flight.

        Raises Unavailable where that takes longer than the drain timeout; nothing is lost, it will be delivered again.
        """
        self._stop = stop
        started_s = self._clock.monotonic_s()
        while not stop.is_set():
            busy = self.step()
            if until_idle and not busy and self._caught_up(started_s):
                break
        self.drain()

    def drain(self) -> None:
        """Finish what is in flight, within the drain timeout."""
        self._deadline_s = self._clock.monotonic_s() + self._rules.drain_timeout_s
        self._empty()

    def close(self) -> None:
        """Let go of the device thread. What is still in flight is not committed, so it will be delivered again."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _empty(self) -> None:
        """Finish the chunk on the device, if there is one."""
        landed = self._land()
        if landed is not None:
            self._finish(*landed)

    def _take(self, max_records: int, timeout_ms: int) -> Chunk:
        """Poll and prepare; an empty chunk when nothing came."""
        with self._stage("poll"):
            records = self._poll(max_records, timeout_ms)
        since_s = self._clock.monotonic_s()
        if not records:
            return Chunk(records, since_s)
        self._watch.taken(records)
        with self._stage("prepare"):
            chunk = self._model.preparation.prepare(records, self._clock.now_ms())
        chunk.since_s = since_s
        self._watch.prepared(chunk, self._rules.max_consecutive_dead_letters)
        return chunk

    def _encode(self, chunk: Chunk) -> Encoded:
        """Run on the device thread."""
        with self._stage("encode"):
            return self._model.device.encode(chunk.missing)

    def _land(self) -> tuple[Chunk, Encoded] | None:
        """Wait for the chunk on the device, if there is one, and keep the membership alive meanwhile."""
        flight, self._flight = self._flight, None
        if flight is None:
            return None
        with self._stage("wait"):
            if not wait([flight.future], timeout=KEEP_ALIVE_S).done:
                with self._paused():
                    while not wait([flight.future], timeout=KEEP_ALIVE_S).done:
                        self._keep_alive()
                        self._check_deadline("the device")
        return flight.chunk, flight.future.result()

    def _finish(self, chunk: Chunk, encoded: Encoded) -> None:
        """Make every effect of a chunk durable, and commit."""
        with self._stage("effects"):
            effects = self._effect_rules.effects(chunk, encoded, self._model.name, self._clock.now_ms())
        holes = self._durably("durable", lambda: self._carry_out(chunk, effects))
        if holes:
            self._go_back([chunk], holes)
            return
        self._durably("commit", lambda: self._source.commit(effects.next_offsets))
        self._positions.settled(effects.next_offsets)
        self._watch.settled(effects, self._clock.now_ms())

    def _carry_out(self, chunk: Chunk, effects: Effects) -> Mapping[TopicPartition, int]:
        """Write the effects, in this order; or write nothing and return the holes of the store.

        When a server was away all of it is done again, for the server may have lost what it had confirmed.
        """
        with self._stage("positions"):
            holes = self._positions.holes(chunk.records)
        if holes:
            return holes
        with self._stage("apply"):
            applied = self._store.apply(effects.updates, self._model.profile_spec)
        self._metrics.count("fenced_writes_total", applied.fenced)
        with self._stage("produce"):
            for outgoing in effects.outgoing:
                self._sink.write(*outgoing)
            self._sink.flush()
        with self._stage("advance"):
            self._store.advance(effects.outcomes())
        return {}

    def _go_back(self, chunks: Sequence[Chunk], holes: Mapping[TopicPartition, int]) -> None:
        """Drop these chunks and the one on the device, and read again from where the store stands."""
        following = self._land()
        dropped = [*chunks] if following is None else [*chunks, following[0]]
        starts = first_offsets([record for one in dropped for record in one.records]) | dict(holes)
        for partition, offset in starts.items():
            self._source.seek(partition, offset)
        for one in dropped:
            self._watch.dropped(one.records)

    def _durably(self, stage: str, action: Callable[[], Result]) -> Result:
        """Do something with a server, again and again until it answers."""
        tries = 0
        while True:
            try:
                with self._stage(stage):
                    return action()
            except Unavailable as error:
                self._sit_out(stage, error, tries)
                tries += 1

    def _sit_out(self, stage: str, error: Unavailable, tries: int) -> None:
        """Wait before the next try. Raises the error where the drain timeout is over."""
        pause_s = min(FIRST_PAUSE_S * 2**tries, LONGEST_PAUSE_S)
        log.warning("server_unavailable", stage=stage, error=str(error), next_try_s=pause_s)
        with self._paused():
            if self._stop.wait(pause_s):
                self._check_deadline(stage, error)
                threading.Event().wait(FIRST_PAUSE_S)
            self._keep_alive()

    def _check_deadline(self, what: str, cause: Unavailable | None = None) -> None:
        """Raise Unavailable when the worker shall stop and the drain timeout is over."""
        if not self._stop.is_set() and self._deadline_s is None:
            return
        now_s = self._clock.monotonic_s()
        if self._deadline_s is None:
            self._deadline_s = now_s + self._rules.drain_timeout_s
        if now_s >= self._deadline_s:
            raise Unavailable(f"{what} takes longer than the drain timeout; what is in flight will be delivered again") from cause

    @contextmanager
    def _paused(self) -> Iterator[None]:
        self._source.pause()
        try:
            yield
        finally:
            self._source.resume()

    def _poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        """Poll; a broker that does not answer has no records now."""
        try:
            return self._source.poll(max_records, timeout_ms)
        except Unavailable as error:
            log.warning("poll_failed", error=str(error))
            self._stop.wait(FIRST_PAUSE_S)
            return ()

    def _keep_alive(self) -> None:
        if not self._handover.holds() and self._poll(1, 0):
            raise AssertionError("a paused source delivered records, which are lost now; this is a bug of the source")

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        started_s = self._clock.monotonic_s()
        yield
        self._metrics.observe("stage_seconds", self._clock.monotonic_s() - started_s, stage=name)

    def _look_around(self) -> None:
        """Every few seconds: is the store still where this worker left it, and how much is there to read?"""
        now_s = self._clock.monotonic_s()
        if now_s - self._lag_at_s < LAG_EVERY_S:
            return
        self._lag_at_s = now_s
        holes = self._durably("positions", lambda: self._positions.holes(()))
        if holes:
            self._go_back([], holes)
        try:
            self._watch.lag(self._source.lag())
        except Unavailable as error:
            log.info("lag_unknown", error=str(error))

    def _caught_up(self, started_s: float) -> bool:
        """Return whether nothing is left to read; a member without partitions waits for some before it believes that."""
        try:
            lag = self._source.lag()
        except Unavailable:
            return False
        if not lag and self._clock.monotonic_s() - started_s < UNASSIGNED_S:
            return False
        return sum(lag.values()) == 0
