"""Source and sink of records: the two protocols, and what they share.

A record is bytes with Kafka coordinates. ``memory``, and ``kafka_source`` with ``kafka_sink``, fulfil the protocols; one
contract suite (tests/contract/test_streams.py) runs over both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from pipeline.contract import check_not_future
from pipeline.errors import InvalidRecord, Reason
from pipeline.topics import max_record_bytes

BROKER_TOLERANCE_MS = 3_600_000  # how far ahead of its clock a broker takes timestamps (message.timestamp.after.max.ms)
Headers = tuple[tuple[str, bytes], ...]


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
    headers: Headers = ()

    @property
    def topic_partition(self) -> TopicPartition:
        """Return the partition this record stands in."""
        return TopicPartition(self.topic, self.partition)


def check_record(topic: str, key: bytes | None, value: bytes, timestamp_ms: int, now_ms: int | None) -> None:
    """Raise InvalidRecord for a record that the broker would refuse: too large, or too far in the future.

    Without ``now_ms`` no time counts as the future (a replay of any history).
    """
    size = len(value) + len(key or b"")
    limit = max_record_bytes(topic)
    if size > limit:
        raise InvalidRecord(Reason.TOO_LARGE, "value", f"{size} bytes", f"a record of {topic} holds at most {limit} bytes")
    if timestamp_ms < 0:
        raise InvalidRecord(Reason.TIME_OUT_OF_RANGE, "timestamp_ms", str(timestamp_ms), "use epoch milliseconds, UTC")
    if now_ms is not None:
        check_not_future(timestamp_ms, now_ms, BROKER_TOLERANCE_MS)


class Source(Protocol):
    """Read records of the partitions that the group assigned to this member. One thread uses it."""

    def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        """Return up to ``max_records`` records, in order per partition; none while paused. Keeps the membership alive."""

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store durably the next offset to read of each partition; partitions no longer owned are left out."""

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Deliver from this offset on; a partition that is not owned is left alone."""

    def pause(self) -> None:
        """Stop delivering records, also of partitions that arrive later, until ``resume``; ``poll`` goes on being called."""

    def resume(self) -> None:
        """Deliver again."""

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return the number of records behind the end, by assigned partition."""

    def rebalance_due(self) -> bool:
        """Tell whether the next poll takes part in a rebalance; until then what is owned can be committed."""

    def assignments(self) -> int:
        """Return how often partitions were assigned; when that changes, a position may be the commit's again."""

    def close(self) -> None:
        """Leave the group. Commits nothing."""


class Sink(Protocol):
    """Write records, within a bounded window of unfinished sends."""

    def write(self, topic: str, key: bytes | None, value: bytes, timestamp_ms: int, headers: Headers = ()) -> None:
        """Hand over one record; waits while the window is full. Raises InvalidRecord for one that the broker must refuse."""

    def flush(self) -> None:
        """Return when every record written so far is durable; raise Unavailable if one is not."""

    def close(self) -> None:
        """Flush and let go."""


class Reader(Protocol):
    """Read what a topic holds, from one end to the other, without a consumer group."""

    def read_range(self, topic: str, from_ms: int | None = None, to_ms: int | None = None) -> Iterator[Record]:
        """Yield the records that stand in the topic now with a timestamp in [from_ms, to_ms), in order per partition."""

    def read_from(self, topic: str, offsets: Mapping[TopicPartition, int]) -> Iterator[Record]:
        """Yield the records that stand in the given partitions now, from the given offsets on."""

    def end_offsets(self, topic: str) -> Mapping[TopicPartition, int]:
        """Return the offset that the next record of each partition will get."""


class Cursor(NamedTuple):
    """A durable position with a note beside it."""

    offset: int
    note: str = ""


class Cursors(Protocol):
    """Keep durable positions under a name of their own, as a consumer group does, for work that is not a stream."""

    def load(self, name: str, topic: str) -> Mapping[TopicPartition, Cursor]:
        """Return the stored cursors of a topic's partitions; a partition without one is left out."""

    def store(self, name: str, cursors: Mapping[TopicPartition, Cursor]) -> None:
        """Store cursors durably."""
