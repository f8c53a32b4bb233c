"""Source and sink of records: the two protocols, and their memory twin.

A record is bytes with Kafka coordinates. The memory twin lives in the product because the demo, replay and every test of
the loop run on it; one contract suite runs over it and over ``adapters.kafka``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Record:
    """What a topic holds: bytes and where they stand. ``timestamp_ms`` is the event time."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    timestamp_ms: int

    @property
    def topic_partition(self) -> TopicPartition:
        """Return the partition this record stands in."""
        return TopicPartition(self.topic, self.partition)


class Source(Protocol):
    """Read records of the partitions that the group assigned to this member. One thread uses it."""

    def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        """Return up to ``max_records`` records, in order per partition; none while paused. Keeps the membership alive."""

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store durably the next offset to read of each partition; partitions no longer owned are left out."""

    def pause(self) -> None:
        """Stop delivering records, also of partitions that arrive later, until ``resume``; ``poll`` goes on being called."""

    def resume(self) -> None:
        """Deliver again."""

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return the number of records behind the end, by assigned partition."""

    def close(self) -> None:
        """Leave the group. Commits nothing."""


class Sink(Protocol):
    """Write records, within a bounded window of unfinished sends."""

    def write(self, topic: str, key: bytes | None, value: bytes, timestamp_ms: int) -> None:
        """Hand over one record; waits while the window is full. Raises InvalidRecord for one that the broker must refuse."""

    def flush(self) -> None:
        """Return when every record written so far is durable; raise Unavailable if one is not."""

    def close(self) -> None:
        """Flush and let go."""
