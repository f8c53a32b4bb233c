"""A source that gives out the records of each topic in the order of their timestamps, across its partitions.

A broker hands over a megabyte of one partition, then of the next. At the end of a live topic that matters little. In a
backlog it mixes weeks: of a year with 51,108 posts in four partitions, read at full speed, three quarters came more than
an hour of event time behind their elders, and the trends would have called them late. So this source holds records back
until every partition that has more to give has shown its next one (the rule of Kafka Streams). Two members of a group do
not wait for each other: a history is replayed in order by one worker.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, nullcontext
from heapq import heapify, heappop, heapreplace
from time import monotonic
from typing import Final

from pipeline.adapters.streams import Record, Source, TopicPartition

HELD_RECORDS: Final = 20_000
MOST_HELD_RECORDS: Final = 10 * HELD_RECORDS  # while a partition that shows nothing is waited for: some 200 MB of posts
PATIENCE_S: Final = 5.0


class TimeOrderedSource:
    """Wraps a source.

    A partition that has records and shows none no longer holds the others back after ``patience_s``, or when so much of the
    others is held that the memory would fill: order is worth less than the process.
    """

    def __init__(self, source: Source, patience_s: float = PATIENCE_S, clock_s: Callable[[], float] = monotonic) -> None:
        self._source = source
        self._patience_s = patience_s
        self._clock_s = clock_s
        self._held: dict[TopicPartition, deque[Record]] = {}
        self._more: set[TopicPartition] = set()  # what the source had more of when it was last asked
        self._waiting_since_s: float | None = None
        self._paused = False

    def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        """Return the oldest records, in order of their timestamps as far as it can be known."""
        if self._paused:
            return self._source.poll(max_records, timeout_ms)
        self._fetch(max_records, timeout_ms)
        return self._release(max_records, {partition.topic for partition in self._waited_for()})

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Store the offsets."""
        self._source.commit(offsets)

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on from ``offset``; what is held of this partition is dropped."""
        self._held.pop(partition, None)
        self._source.seek(partition, offset)

    def pause(self) -> None:
        """Deliver nothing until ``resume``."""
        self._paused = True
        self._source.pause()

    def resume(self) -> None:
        """Deliver again."""
        self._paused = False
        self._source.resume()

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return the records behind the end by partition, with those that are held here."""
        return {partition: lag + len(self._held.get(partition, ())) for partition, lag in self._source.lag().items()}

    def rebalance_due(self) -> bool:
        """Tell whether the next poll takes part in a rebalance."""
        return self._source.rebalance_due()

    def assignments(self) -> int:
        """Return how often partitions were assigned."""
        return self._source.assignments()

    def close(self) -> None:
        """Leave the group; what is held is read again by the next owner."""
        self._source.close()

    def _fetch(self, max_records: int, timeout_ms: int) -> None:
        """Take what the source has, and more of it while a partition that has more has shown nothing of it."""
        self._take(max_records, 0 if any(self._held.values()) else timeout_ms)
        for _ in self._look():
            if not self._waited_for():
                break
            self._take(max_records, timeout_ms)
            self._look()

    def _take(self, max_records: int, timeout_ms: int) -> None:
        full = self._held_records() >= HELD_RECORDS and not self._waited_for()
        with self._full() if full else nullcontext():
            for record in self._source.poll(max_records, timeout_ms):
                held = self._held.setdefault(record.topic_partition, deque())
                if held and record.offset <= held[-1].offset:
                    held.clear()  # the partition went and came back: the source reads from the commit again
                held.append(record)

    @contextmanager
    def _full(self) -> Iterator[None]:
        """Keep the membership alive and take nothing."""
        self._source.pause()
        try:
            yield
        finally:
            self._source.resume()

    def _look(self) -> Set[TopicPartition]:
        """See which partitions have more to give; return those that are owned."""
        lag = self._source.lag()
        self._more = {partition for partition, records in lag.items() if records > 0}
        for partition in self._held.keys() - lag.keys():
            del self._held[partition]  # another member has it now, and reads these records again
        return lag.keys()

    def _held_records(self) -> int:
        return sum(map(len, self._held.values()))

    def _waited_for(self) -> set[TopicPartition]:
        """Return the partitions that have more and show nothing of it, as long as there is patience, and room for the others."""
        silent = {partition for partition in self._more if not self._held.get(partition)}
        if not silent:
            self._waiting_since_s = None
        elif self._waiting_since_s is None:
            self._waiting_since_s = self._clock_s()
        elif self._clock_s() - self._waiting_since_s >= self._patience_s:
            return set()
        return silent if self._held_records() < MOST_HELD_RECORDS else set()

    def _release(self, max_records: int, waiting_topics: Set[str]) -> list[Record]:
        """Return the records of each topic that need not wait; the topics share ``max_records``.

        Asks the source nothing: a broker that does not answer here would lose what is taken out already.
        """
        topics = sorted({partition.topic for partition, held in self._held.items() if held} - waiting_topics)
        return [record for topic in topics for record in self._merged(topic, max(1, max_records // len(topics)))]

    def _merged(self, topic: str, max_records: int) -> list[Record]:
        """Merge the held partitions of a topic, up to where one that has more to give runs dry."""
        heads = [(held[0].timestamp_ms, partition) for partition, held in self._held.items() if held and partition.topic == topic]
        heapify(heads)
        released: list[Record] = []
        while heads and len(released) < max_records:
            partition = heads[0][1]
            held = self._held[partition]
            released.append(held.popleft())
            if held:
                heapreplace(heads, (held[0].timestamp_ms, partition))
            elif partition in self._more:
                break
            else:
                heappop(heads)
        return released
