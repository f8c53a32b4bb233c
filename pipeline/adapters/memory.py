"""The memory twin of Kafka: topics, partitions, offsets, consumer groups and their commits, in one process.

The demo, replay and the tests of every loop run on it; the contract suite in tests/contract runs over it and over
``kafka_source`` and ``kafka_sink``. All state belongs to ``MemoryBroker``, so a source can be thrown away (a crash) and a new one
goes on from the committed offsets. One lock guards everything: producer and consumer may be different threads.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic

from pipeline.adapters.partitioning import partition_for
from pipeline.adapters.streams import Headers, Record, TopicPartition, check_record
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.topics import TOPICS


@dataclass
class _Log:
    """One partition: its records, and the offset of the first one that is still kept."""

    base: int = 0
    records: list[Record] = field(default_factory=list)

    @property
    def end(self) -> int:
        return self.base + len(self.records)


@dataclass
class _Group:
    """One consumer group: members in the order they joined, who owns what, and what is committed."""

    members: list["MemorySource"] = field(default_factory=list)
    committed: dict[TopicPartition, int] = field(default_factory=dict)


class MemoryBroker:
    """Holds topics and groups. ``available = False`` plays a broker that is gone: writes fail, polls deliver nothing."""

    def __init__(self, partitions: Mapping[str, int]) -> None:
        """Create the topics named by ``partitions`` (name → number of partitions)."""
        self.available = True
        self.changed = threading.Condition()
        self._logs: dict[str, list[_Log]] = {}
        self._groups: dict[str, _Group] = {}
        self._keyless = 0
        for topic, count in partitions.items():
            self.create_topic(topic, count)

    @classmethod
    def with_table(cls, prefix: str = "") -> "MemoryBroker":
        """Return a broker that holds every topic of pipeline.topics, each name completed with ``prefix``."""
        return cls({topic.full_name(prefix): topic.partitions for topic in TOPICS})

    def create_topic(self, topic: str, partitions: int) -> None:
        """Add a topic; one that exists is left as it is."""
        self._logs.setdefault(topic, [_Log() for _ in range(partitions)])

    def partitions(self, topic: str) -> tuple[TopicPartition, ...]:
        """Return the partitions of a topic; raise ConfigurationError when there is no such topic."""
        if topic not in self._logs:
            raise ConfigurationError(f"topic {topic!r} does not exist; `groundswell provision` creates the topics")
        return tuple(TopicPartition(topic, index) for index in range(len(self._logs[topic])))

    def append(self, topic: str, key: bytes | None, value: bytes, timestamp_ms: int, headers: Headers = ()) -> Record:
        """Add a record to the partition of its key (keyless records go round) and wake whoever polls."""
        with self.changed:
            count = len(self._logs.get(topic) or self.partitions(topic))
            if key is None:
                self._keyless += 1
            partition = self._keyless % count if key is None else partition_for(key, count)
            log = self._logs[topic][partition]
            record = Record(topic, partition, log.end, key, value, timestamp_ms, headers)
            log.records.append(record)
            self.changed.notify_all()
            return record

    def read(self, partition: TopicPartition, offset: int, max_records: int) -> list[Record]:
        """Return up to ``max_records`` records from ``offset`` on; an offset that was trimmed away means the first kept one."""
        with self.changed:
            log = self._logs[partition.topic][partition.partition]
            start = max(0, offset - log.base)
            return log.records[start : start + max_records]

    def records(self, topic: str) -> list[Record]:
        """Return all kept records of a topic, by partition and offset."""
        return [record for partition in self.partitions(topic) for record in self.read(partition, 0, self.end_offset(partition))]

    def end_offset(self, partition: TopicPartition) -> int:
        """Return the offset that the next record of this partition will get."""
        return self._logs[partition.topic][partition.partition].end

    def committed(self, group: str) -> Mapping[TopicPartition, int]:
        """Return the committed offsets of a group (the next offset to read)."""
        with self.changed:
            return dict(self._group(group).committed)

    def trim(self, topic: str, before: Mapping[TopicPartition, int]) -> None:
        """Forget the records of ``topic`` below the given offsets, as retention does, so that a long replay stays small."""
        with self.changed:
            for partition in self.partitions(topic):
                log = self._logs[topic][partition.partition]
                gone = min(before.get(partition, 0), log.end) - log.base
                if gone > 0:
                    del log.records[:gone]
                    log.base += gone

    def expel(self, source: "MemorySource") -> None:
        """Take a member out of its group, as a missed heartbeat does. It joins again when it polls next."""
        with self.changed:
            members = self._group(source.group).members
            if source in members:
                members.remove(source)
                source.keep(())
                self._share(members)

    def join(self, source: "MemorySource") -> None:
        """Make ``source`` a member of its group, if it is not one; partitions are shared anew."""
        with self.changed:
            members = self._group(source.group).members
            if source not in members:
                members.append(source)
                self._share(members)

    def assignment(self, source: "MemorySource") -> tuple[TopicPartition, ...]:
        """Return what ``source`` owns now: each partition goes to the members that want its topic, in turn."""
        with self.changed:
            members = self._group(source.group).members
            owned = []
            for topic in source.topics:
                takers = [member for member in members if topic in member.topics]
                owned += [p for p in self.partitions(topic) if takers and takers[p.partition % len(takers)] is source]
            return tuple(owned)

    def store_offsets(self, source: "MemorySource", offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the offsets of the partitions that ``source`` owns; leave out the others."""
        if not self.available:
            raise Unavailable(f"broker does not answer; {len(offsets)} offsets of group {source.group!r} are not committed")
        with self.changed:
            owned = set(self.assignment(source))
            self._group(source.group).committed.update({p: offset for p, offset in offsets.items() if p in owned})

    def _share(self, members: Iterable["MemorySource"]) -> None:
        for member in members:
            member.keep(self.assignment(member))
        self.changed.notify_all()

    def _group(self, name: str) -> _Group:
        return self._groups.setdefault(name, _Group())


class MemorySource:
    """A member of a consumer group on a MemoryBroker. See ``streams.Source``."""

    def __init__(self, broker: MemoryBroker, group: str, topics: Iterable[str]) -> None:
        self.group = group
        self.topics = tuple(topics)
        self._broker = broker
        self._positions: dict[TopicPartition, int] = {}
        self._assignments = 0
        self._paused = False
        self._closed = False
        self._turn = 0
        for topic in self.topics:
            broker.partitions(topic)
        broker.join(self)

    def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        """See ``streams.Source.poll``. Waits for a record up to ``timeout_ms``; partitions take turns at going first."""
        self._check_open()
        deadline = monotonic() + timeout_ms / 1000
        with self._broker.changed:
            while True:
                records = self._take(max_records)
                remaining = deadline - monotonic()
                if records or remaining <= 0:
                    return records
                self._broker.changed.wait(remaining)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See ``streams.Source.commit``."""
        self._check_open()
        self._broker.store_offsets(self, offsets)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See ``streams.Source.seek``."""
        self._check_open()
        with self._broker.changed:
            if partition in self._assigned():
                self._positions[partition] = offset

    def pause(self) -> None:
        """See ``streams.Source.pause``."""
        self._paused = True

    def resume(self) -> None:
        """See ``streams.Source.resume``."""
        self._paused = False

    def lag(self) -> Mapping[TopicPartition, int]:
        """See ``streams.Source.lag``."""
        self._check_open()
        with self._broker.changed:
            return {p: self._broker.end_offset(p) - position for p, position in self._assigned().items()}

    def rebalance_due(self) -> bool:
        """See ``streams.Source.rebalance_due``. Here partitions change hands at once."""
        return False

    def assignments(self) -> int:
        """See ``streams.Source.assignments``."""
        return self._assignments

    def close(self) -> None:
        """See ``streams.Source.close``. A second call does nothing."""
        self._closed = True
        self._broker.expel(self)

    def keep(self, owned: Sequence[TopicPartition]) -> None:
        """Forget the positions of partitions that are no longer owned; the broker calls this on every rebalance."""
        self._assignments += 1
        self._positions = {p: position for p, position in self._positions.items() if p in owned}

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigurationError("this source is closed; make a new one of the same group to go on")

    def _assigned(self) -> dict[TopicPartition, int]:
        """Return the positions by owned partition: a new one starts at the committed offset, a lost one is forgotten."""
        committed = self._broker.committed(self.group)
        owned = self._broker.assignment(self)
        self._positions = {p: self._positions.get(p, committed.get(p, 0)) for p in owned}
        return self._positions

    def _take(self, max_records: int) -> list[Record]:
        self._broker.join(self)
        positions = list(self._assigned())
        if self._paused or not self._broker.available or not positions:
            return []
        self._turn = (self._turn + 1) % len(positions)
        taken: list[Record] = []
        for partition in islice(positions * 2, self._turn, self._turn + len(positions)):
            records = self._broker.read(partition, self._positions[partition], max_records - len(taken))
            if records:
                self._positions[partition] = records[-1].offset + 1
                taken += records
        return taken


class MemorySink:
    """Writes to a MemoryBroker. See ``streams.Sink``. Without ``clock_ms`` no time counts as the future."""

    def __init__(self, broker: MemoryBroker, clock_ms: Callable[[], int] | None = None) -> None:
        self._broker = broker
        self._clock_ms = clock_ms
        self._failed = 0

    def write(self, topic: str, key: bytes | None, value: bytes, timestamp_ms: int, headers: Headers = ()) -> None:
        """See ``streams.Sink.write``."""
        check_record(topic, key, value, timestamp_ms, None if self._clock_ms is None else self._clock_ms())
        if self._broker.available:
            self._broker.append(topic, key, value, timestamp_ms, headers)
        else:
            self._failed += 1

    def flush(self) -> None:
        """See ``streams.Sink.flush``."""
        failed, self._failed = self._failed, 0
        if failed:
            raise Unavailable(f"broker does not answer; {failed} records were not written")

    def close(self) -> None:
        """See ``streams.Sink.close``."""
        self.flush()
