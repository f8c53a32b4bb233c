"""Bounded reads of Kafka topics without a group, and cursors that are kept as a group's committed offsets."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from time import monotonic

from kafka import KafkaConsumer, OffsetAndMetadata
from kafka import TopicPartition as ClientPartition

from pipeline.adapters.kafka_client import (
    COMMIT_TIMEOUT_MS,
    FETCH,
    LOOKUP_TIMEOUT_MS,
    client_options,
    require_broker,
    require_crc32c,
    translated,
)
from pipeline.adapters.streams import Cursor, Record, TopicPartition
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.settings import KafkaSettings

PROGRESS_TIMEOUT_S = 30.0


class KafkaReader:
    """Reads what stands in a topic at the moment of the call. See ``streams.Reader``."""

    def __init__(self, kafka: KafkaSettings) -> None:
        require_crc32c()
        self._kafka = kafka

    def read_range(self, topic: str, from_ms: int | None = None, to_ms: int | None = None) -> Iterator[Record]:
        """See ``streams.Reader.read_range``. Raises Unavailable, and ConfigurationError where the topic is missing."""
        with translated(f"read of {topic}", self._kafka), closing(_consumer(self._kafka, None)) as consumer:
            partitions = _partitions(consumer, topic)
            starts = consumer.beginning_offsets(partitions, timeout_ms=LOOKUP_TIMEOUT_MS)
            if from_ms is not None:
                found = consumer.offsets_for_times(dict.fromkeys(partitions, from_ms), timeout_ms=LOOKUP_TIMEOUT_MS)
                starts = {p: at.offset for p, at in found.items() if at is not None and at.offset >= 0}
            for record in _read(consumer, starts):
                if (from_ms is None or record.timestamp_ms >= from_ms) and (to_ms is None or record.timestamp_ms < to_ms):
                    yield record

    def read_from(self, topic: str, offsets: Mapping[TopicPartition, int]) -> Iterator[Record]:
        """See ``streams.Reader.read_from``."""
        with translated(f"read of {topic}", self._kafka), closing(_consumer(self._kafka, None)) as consumer:
            yield from _read(consumer, {ClientPartition(*p): offset for p, offset in offsets.items()})

    def end_offsets(self, topic: str) -> Mapping[TopicPartition, int]:
        """See ``streams.Reader.end_offsets``."""
        with translated(f"end of {topic}", self._kafka), closing(_consumer(self._kafka, None)) as consumer:
            ends = consumer.end_offsets(_partitions(consumer, topic), timeout_ms=LOOKUP_TIMEOUT_MS)
            return {TopicPartition(*p): end for p, end in ends.items()}


class KafkaCursors:
    """Keeps cursors in Kafka's own offsets topic, one consumer group a name. See ``streams.Cursors``."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    def load(self, name: str, topic: str) -> Mapping[TopicPartition, Cursor]:
        """See ``streams.Cursors.load``."""
        with translated(f"cursor {name}", self._kafka), closing(_consumer(self._kafka, name)) as consumer:
            stored = {p: consumer.committed(p, metadata=True, timeout_ms=LOOKUP_TIMEOUT_MS) for p in _partitions(consumer, topic)}
            return {TopicPartition(*p): Cursor(at.offset, at.metadata or "") for p, at in stored.items() if at is not None}

    def store(self, name: str, cursors: Mapping[TopicPartition, Cursor]) -> None:
        """See ``streams.Cursors.store``."""
        offsets = {ClientPartition(*p): OffsetAndMetadata(at.offset, at.note, -1) for p, at in cursors.items()}
        with translated(f"cursor {name}", self._kafka), closing(_consumer(self._kafka, name)) as consumer:
            consumer.assign(list(offsets))
            consumer.commit(offsets, timeout_ms=COMMIT_TIMEOUT_MS)


def _consumer(kafka: KafkaSettings, group: str | None) -> KafkaConsumer:
    require_broker(kafka)
    return KafkaConsumer(
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        allow_auto_create_topics=False,
        metrics_enabled=False,
        **FETCH,
        **client_options(kafka),
    )


def _partitions(consumer: KafkaConsumer, topic: str) -> list[ClientPartition]:
    if topic not in consumer.topics():
        raise ConfigurationError(f"topic {topic!r} does not exist; `groundswell provision` creates the topics")
    return [ClientPartition(topic, index) for index in sorted(consumer.partitions_for_topic(topic))]


def _read(consumer: KafkaConsumer, starts: Mapping[ClientPartition, int]) -> Iterator[Record]:
    """Yield from the given offsets to where the partitions end now. A gap (compaction) counts as progress."""
    ends = consumer.end_offsets(list(starts), timeout_ms=LOOKUP_TIMEOUT_MS)
    consumer.assign(list(starts))
    for partition, offset in starts.items():
        consumer.seek(partition, offset)
    deadline = monotonic() + PROGRESS_TIMEOUT_S
    left = {p for p, end in ends.items() if starts[p] < end}
    while left:
        polled = consumer.poll(timeout_ms=200)
        for partition, batch in polled.items():
            yield from (
                Record(r.topic, r.partition, r.offset, r.key, r.value or b"", r.timestamp, tuple(r.headers))
                for r in batch
                if r.offset < ends[partition]
            )
        left = {p for p in left if consumer.position(p, timeout_ms=LOOKUP_TIMEOUT_MS) < ends[p]}
        if polled:
            deadline = monotonic() + PROGRESS_TIMEOUT_S  # from here: whoever takes the records may have taken long over them
        elif monotonic() > deadline:
            raise Unavailable(f"no record of {sorted(left)[0]} came for {PROGRESS_TIMEOUT_S:.0f} s")
