"""The whole pipeline in one process, on memory streams, in event time: worker, trends and notifier by turns.

A turn feeds records, lets the worker score them, hands the scored posts to the trend host in event-time order, and lets the
notifier send what became due. Nothing runs beside it but the worker's device thread, so equal input gives equal trends and
alerts, however it is cut into turns. Deliveries alone happen in processing time.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Final, NamedTuple, Self, TypeVar

from pipeline import topics
from pipeline.adapters.delivery_log import MemoryDeliveryLog
from pipeline.adapters.memory import MemoryBroker, MemorySink, MemorySource
from pipeline.adapters.stores import MemoryProfileStore, Progress
from pipeline.adapters.streams import Record, Sink, Source
from pipeline.core.delivery import Outcome
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.trends import Step, post_order, told
from pipeline.errors import InvalidRecord
from pipeline.events import Alert, BehaviorEvent, DeadLetter, ScoredPost, SocialPost, Trend
from pipeline.jobs.detector import detector_config
from pipeline.jobs.notify.desk import Letters
from pipeline.jobs.notify.notifier import Notifier, make_notifier
from pipeline.jobs.notify.sender import Receiver
from pipeline.jobs.trends import make_host
from pipeline.settings import Settings
from pipeline.telemetry import Metrics
from workers.encoder import Encoder
from workers.hosting import make_linker
from workers.rules import Clock, WorkerRules, system_clock
from workers.worker import Brain, Connections, Worker

TURN_RECORDS: Final = 2_000
POLL_RECORDS: Final = 100_000
Item = TypeVar("Item")

INPUTS: Final = (topics.POSTS.name, topics.EVENTS.name)


@dataclass(frozen=True, slots=True)
class Incoming:
    """One record for an input topic (its short name), not yet checked by anyone."""

    topic: str
    key: bytes
    value: bytes
    timestamp_ms: int

    @classmethod
    def of(cls, event: SocialPost | BehaviorEvent) -> Self:
        """Return the record of an event, keyed as the table of topics says."""
        topic = topics.topic_of(event)
        return cls(topic.name, topic.key_of(event), event.to_json(), event.event_time_ms)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn brought. ``posts`` in event-time order; ``late``: behind the allowed lateness."""

    posts: tuple[ScoredPost, ...] = ()
    trends: tuple[Trend, ...] = ()
    alerts: tuple[Alert, ...] = ()
    late: tuple[ScoredPost, ...] = ()


@dataclass(frozen=True, slots=True)
class Accounting:
    """One record in, exactly one record out. ``refused`` never got in: the stream itself does not take such a record."""

    accepted: int
    scored: int
    dead_letters: int
    in_flight: int
    refused: int = 0

    def holds(self) -> bool:
        """Say whether nothing was lost and nothing counted twice."""
        return self.accepted == self.scored + self.dead_letters + self.in_flight

    @property
    def whereabouts(self) -> str:
        """Return the right side of the equation, in words: what became of the records."""
        return f"{self.scored:,} scored + {self.dead_letters:,} dead letters + {self.in_flight:,} in flight"

    def __str__(self) -> str:
        """Return the equation."""
        return f"{self.accepted:,} accepted = {self.whereabouts}"


class TrendStage:
    """The trend host between topics: scored posts in event-time order in; trends and alerts out, then the commit."""

    def __init__(self, source: Source, sink: Sink, config: DetectorConfig) -> None:
        self._source = source
        self._sink = sink
        self._host = make_host(config)

    def step(self) -> Turn:
        """Take every scored post that is there."""
        records = self._source.poll(POLL_RECORDS, 0)
        posts = sorted(map(_scored, records), key=post_order)
        turn = self._write(posts, list(self._host.on_posts(posts)))
        self._source.commit({record.topic_partition: record.offset + 1 for record in records})
        return turn

    def finish(self) -> Turn:
        """End the stream: everything pending is decided."""
        return self._write([], [self._host.finish()])

    def _write(self, posts: Sequence[ScoredPost], steps: Sequence[Step]) -> Turn:
        for topic, output in chain.from_iterable(map(told, steps)):
            self._sink.write(topic.name, topic.key_of(output), output.to_json(), output.event_time_ms)
        trends = tuple(trend for step in steps for trend in step.trends)
        alerts = tuple(alert for step in steps for alert in step.alerts)
        late = tuple(post for step in steps for post in step.late)
        self._sink.flush()
        return Turn(tuple(posts), trends, alerts, late)


class InProcess:
    """Broker, store, worker, trends and notifier. ``close`` when done."""

    def __init__(
        self, encoder: Encoder, settings: Settings, receivers: Sequence[Receiver] = (), clock: Clock | None = None
    ) -> None:
        self.broker = MemoryBroker.with_table()
        self.store = MemoryProfileStore()
        self.metrics = Metrics()
        self._clock = clock or system_clock()
        self._sink = MemorySink(self.broker)
        self._refused = 0
        self._worker = self._make_worker(encoder, settings)
        scored = MemorySource(self.broker, "trends", [topics.SCORED.name])
        self._trends = TrendStage(scored, self._sink, detector_config(settings.trends))
        self._notifier = self._make_notifier(settings, receivers)

    def turn(self, records: Iterable[Incoming]) -> Turn:
        """Feed records and let everything work until nothing is left to do; deliveries may have to wait for a later turn."""
        self._feed(records)
        while self._worker.step():
            pass
        turn = self._trends.step()
        self._deliver()
        self._forget_consumed()
        return turn

    def finish(self) -> Turn:
        """End the stream: pending panes are decided."""
        turn = self._trends.finish()
        self._deliver()
        return turn

    def await_deliveries(self, stop: threading.Event) -> None:
        """Return when every alert has arrived or is a dead letter, or when ``stop`` is set."""
        while not (self._notifier.idle() or stop.is_set()):
            self._deliver()
            stop.wait(self._notifier.wait_s())

    def accounting(self) -> Accounting:
        """Return the accounts of the input topics, from the streams and the store, not from what the worker says."""
        partitions = [partition for name in INPUTS for partition in self.broker.partitions(name)]
        progress = self.store.progress(partitions)
        ends = {partition: self.broker.end_offset(partition) for partition in partitions}
        return Accounting(
            accepted=sum(ends.values()),
            scored=sum(one.scored for one in progress.values()),
            dead_letters=sum(one.dead for one in progress.values()),
            in_flight=sum(end - progress.get(p, Progress()).next_offset for p, end in ends.items()),
            refused=self._refused,
        )

    def delivered(self) -> int:
        """Return the number of webhooks that arrived."""
        return int(self.metrics.registry.get_sample_value("groundswell_deliveries_total", {"outcome": Outcome.DELIVERED}) or 0)

    def dead_letters(self) -> list[DeadLetter]:
        """Return what could not be used, with the reasons."""
        return [DeadLetter.model_validate_json(record.value) for record in self.broker.records(topics.DEAD_LETTERS.name)]

    def close(self) -> None:
        """Let go of the device thread."""
        self._worker.close()

    def _feed(self, records: Iterable[Incoming]) -> None:
        for record in records:
            try:
                self._sink.write(record.topic, record.key, record.value, record.timestamp_ms)
            except InvalidRecord:
                self._refused += 1
        self._sink.flush()

    def _deliver(self) -> None:
        while self._notifier.step():
            pass
        self._notifier.deliver_due()

    def _make_worker(self, encoder: Encoder, settings: Settings) -> Worker:
        local = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"topic_prefix": ""})})
        rules = replace(WorkerRules.from_settings(local), poll_timeout_ms=0)
        connections = Connections(MemorySource(self.broker, "worker", INPUTS), MemorySink(self.broker), self.store)
        return Worker(connections, Brain(encoder, make_linker(settings)), rules, self.metrics, self._clock)

    def _make_notifier(self, settings: Settings, receivers: Sequence[Receiver]) -> Notifier:
        letters = Letters(self._sink, topics.DEAD_LETTERS.name, self.metrics)
        alerts = MemorySource(self.broker, "notifier", [topics.ALERTS.name])
        return make_notifier(settings.notify, alerts, receivers, MemoryDeliveryLog(), letters, self._clock.now_ms)

    def _forget_consumed(self) -> None:
        """Drop what everyone has read, so that a long replay stays small."""
        for name, group in ((topics.POSTS.name, "worker"), (topics.EVENTS.name, "worker"), (topics.SCORED.name, "trends")):
            self.broker.trim(name, self.broker.committed(group))
        self.broker.trim(topics.TRENDS.name, {p: self.broker.end_offset(p) for p in self.broker.partitions(topics.TRENDS.name)})


def turns(items: Iterable[Item], size: int = TURN_RECORDS) -> Iterator[list[Item]]:
    """Cut the input into turns of ``size`` records, or posts."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


class ScoredTurn(NamedTuple):
    """What became of ``raw_posts`` posts: the scored ones in event-time order, and those that cannot be used."""

    raw_posts: int
    posts: tuple[ScoredPost, ...]
    refused: Sequence[DeadLetter]


def score_turn(posts: Sequence[SocialPost], encoder: Encoder, settings: Settings, clock: Clock | None = None) -> ScoredTurn:
    """Return what the worker makes of posts, one scored post per post and entity."""
    pipeline = InProcess(encoder, settings, clock=clock)
    try:
        return ScoredTurn(len(posts), pipeline.turn(map(Incoming.of, posts)).posts, pipeline.dead_letters())
    finally:
        pipeline.close()


def score_posts(posts: Iterable[SocialPost], encoder: Encoder, settings: Settings) -> Iterator[ScoredPost]:
    """Yield what the worker makes of posts, turn by turn; a post that becomes a dead letter yields nothing."""
    for batch in turns(posts):
        yield from score_turn(batch, encoder, settings).posts


def _scored(record: Record) -> ScoredPost:
    return ScoredPost.model_validate_json(record.value)
