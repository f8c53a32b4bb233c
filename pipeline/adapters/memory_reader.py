"""The memory twin of ``kafka_reader``: bounded reads without a group, and cursors that live as long as the process."""

from collections.abc import Iterator, Mapping

from pipeline.adapters.memory import MemoryBroker
from pipeline.adapters.streams import Cursor, Record, TopicPartition


class MemoryReader:
    """Reads a MemoryBroker without a group. See ``streams.Reader``."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker

    def read_range(self, topic: str, from_ms: int | None = None, to_ms: int | None = None) -> Iterator[Record]:
        """See ``streams.Reader.read_range``."""
        for record in self.read_from(topic, dict.fromkeys(self._broker.partitions(topic), 0)):
            if (from_ms is None or record.timestamp_ms >= from_ms) and (to_ms is None or record.timestamp_ms < to_ms):
                yield record

    def read_from(self, topic: str, offsets: Mapping[TopicPartition, int]) -> Iterator[Record]:  # noqa: ARG002
        """See ``streams.Reader.read_from``."""
        for partition, offset in offsets.items():
            yield from self._broker.read(partition, offset, self._broker.end_offset(partition))

    def end_offsets(self, topic: str) -> Mapping[TopicPartition, int]:
        """See ``streams.Reader.end_offsets``."""
        return {partition: self._broker.end_offset(partition) for partition in self._broker.partitions(topic)}


class MemoryCursors:
    """Keeps cursors as long as the process lives. See ``streams.Cursors``."""

    def __init__(self) -> None:
        self._cursors: dict[str, dict[TopicPartition, Cursor]] = {}

    def load(self, name: str, topic: str) -> Mapping[TopicPartition, Cursor]:
        """See ``streams.Cursors.load``."""
        return {p: cursor for p, cursor in self._cursors.get(name, {}).items() if p.topic == topic}

    def store(self, name: str, cursors: Mapping[TopicPartition, Cursor]) -> None:
        """See ``streams.Cursors.store``."""
        self._cursors.setdefault(name, {}).update(cursors)
