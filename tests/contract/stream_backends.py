"""What the contract of streams is tested with: the two backends, and members of a group that poll beside each other."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from threading import Event, Thread
from time import time

from pipeline.adapters.memory import MemoryBroker, MemorySink, MemorySource
from pipeline.adapters.memory_reader import MemoryReader
from pipeline.adapters.streams import Reader, Record, Sink, Source, TopicPartition
from pipeline.adapters.waiting import wait_until
from pipeline.settings import KafkaSettings

NOW_MS = int(time() * 1000)
LONG_AGO_MS = 1_388_531_408_000
DEADLINE_S = 60.0  # a rebalance takes up to eight seconds on a machine with nothing else to do: two joins, each within a poll
KEYS = [f"user-{index}".encode() for index in range(40)]


@dataclass
class Streams:
    """One backend: how to make topics, sources and sinks on it. Everything made is closed afterwards."""

    name: Callable[[str], str]
    create: Callable[[str, int], None]
    make_source: Callable[[str, str], Source]
    make_sink: Callable[[], Sink]
    reader: Reader
    crash: Callable[[Source], None]
    opened: list[Source | Sink] = field(default_factory=list)

    def topic(self, partitions: int) -> str:
        name = self.name("t")
        self.create(name, partitions)
        return name

    def source(self, topic: str, group: str = "g") -> Source:
        source = self.make_source(self.name(group), topic)
        self.opened.append(source)
        return source

    def sink(self) -> Sink:
        sink = self.make_sink()
        self.opened.append(sink)
        return sink

    def fill(self, topic: str, records: int, key: bytes | None = None) -> None:
        sink = self.sink()
        for index in range(records):
            sink.write(topic, key or KEYS[index % len(KEYS)], str(index).encode(), LONG_AGO_MS + index)
        sink.flush()


def memory_streams() -> Streams:
    broker = MemoryBroker({})
    return Streams(
        name=lambda name: name,
        create=broker.create_topic,
        make_source=lambda group, topic: MemorySource(broker, group, [topic]),
        make_sink=lambda: MemorySink(broker, lambda: NOW_MS),
        reader=MemoryReader(broker),
        crash=lambda source: source.close(),
    )


def kafka_streams(bootstrap: str, prefix: str) -> Streams:
    from pipeline.adapters.kafka_admin import KafkaAdmin, TopicState
    from pipeline.adapters.kafka_reader import KafkaReader
    from pipeline.adapters.kafka_sink import KafkaSink
    from pipeline.adapters.kafka_source import KafkaSource

    settings = KafkaSettings(bootstrap=bootstrap, session_timeout_ms=6_000, stall_timeout_s=8)

    def create(name: str, partitions: int) -> None:
        with KafkaAdmin(settings) as admin:
            admin.create([TopicState(name, partitions, 1, {})])

    return Streams(
        name=lambda name: f"{prefix}{name}",
        create=create,
        make_source=lambda group, topic: KafkaSource(settings, group, [topic]),
        make_sink=partial(KafkaSink, settings),
        reader=KafkaReader(settings),
        crash=lambda source: source.close(),
    )


def take(source: Source, count: int) -> list[Record]:
    """Poll until ``count`` records came."""
    records: list[Record] = []
    assert wait_until(lambda: gather(records, source) >= count, DEADLINE_S), len(records)
    return records


def gather(records: list[Record], *sources: Source) -> int:
    """Poll each source once; return how many records there are now."""
    for source in sources:
        records += source.poll(1_000, 100)
    return len(records)


def next_offsets(records: list[Record]) -> dict[TopicPartition, int]:
    offsets: dict[TopicPartition, int] = defaultdict(int)
    for record in records:
        offsets[record.topic_partition] = max(offsets[record.topic_partition], record.offset + 1)
    return dict(offsets)


class Member:
    """Polls a source on a thread of its own, as another process would: a rebalance needs every member at once."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.records: list[Record] = []
        self.lag: Mapping[TopicPartition, int] = {}
        self._stop = Event()
        self._thread = Thread(target=self._poll)

    def __enter__(self) -> "Member":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _poll(self) -> None:
        while not self._stop.is_set():
            self.records += self.source.poll(1_000, 100)
            self.lag = self.source.lag()


def shared(first: Member, second: Member, partitions: int) -> bool:
    """Tell whether two members own half of the partitions each."""
    return len(first.lag) == len(second.lag) == partitions // 2 and set(first.lag).isdisjoint(second.lag)
