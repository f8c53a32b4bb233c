"""Notice when the profile store lost its tail, and where to read again from.

Redis may lose its last second of writes when its machine dies; Kafka's commit of the same records may have survived, or a
worker may have gone on. The store's progress counter of a partition was written after the profiles and before the commit.
So before a chunk is applied, its first offsets are compared with the progress: where the store stands further back, there
is a hole. Applying would close the users' fences over it, so the source goes back first; what was not lost is then a no-op.
A store that knows nothing of a partition lost everything, or is new: then the partition is read again from its beginning,
which is also how an emptied Redis is filled again.
"""

from collections.abc import Callable, Mapping, Sequence

import structlog

from pipeline.adapters.stores import ProfileStore, Progress
from pipeline.adapters.streams import Reader, Record, TopicPartition
from pipeline.errors import Stop

log = structlog.get_logger()


def first_offsets(records: Sequence[Record]) -> dict[TopicPartition, int]:
    """Return the first offset of each partition among records that are in order per partition."""
    first: dict[TopicPartition, int] = {}
    for record in records:
        first.setdefault(record.topic_partition, record.offset)
    return first


def check_ends(store: ProfileStore, reader: Reader, topics: Sequence[str]) -> None:
    """Raise Stop where a topic ends before what the store has counted of it: its new records would pass for applied ones."""
    for topic in topics:
        counted = store.progress(reader.end_offsets(topic))
        ends = reader.end_offsets(topic)  # asked after the progress, for another worker may be at work: an end only grows
        for partition, progress in counted.items():
            if progress.next_offset > ends[partition]:
                raise Stop(
                    f"{topic}:{partition.partition} ends at offset {ends[partition]}, and the profile store has counted its "
                    f"records up to {progress.next_offset}: the topic was made anew and the store kept. Make the topics under "
                    "another GROUNDSWELL_KAFKA__TOPIC_PREFIX, which keeps the profiles, or set another "
                    "GROUNDSWELL_REDIS__KEY_PREFIX, which begins them anew"
                )


def _broken(records: Sequence[Record], durable: Mapping[TopicPartition, int]) -> set[TopicPartition]:
    """Return the partitions whose records beyond what is durable do not follow on one another."""
    following, broken = dict(durable), set()
    for record in records:
        partition = record.topic_partition
        if record.offset > following[partition]:
            broken.add(partition)
        following[partition] = max(following[partition], record.offset + 1)
    return broken


class Positions:
    """Compares what comes with what the store has. ``assignments``: see ``streams.Source.assignments``."""

    def __init__(self, store: ProfileStore, assignments: Callable[[], int]) -> None:
        self._store = store
        self._assignments = assignments
        self._assigned = 0
        self._sought: dict[TopicPartition, int] = {}
        self._gappy: set[str] = set()  # topics whose offsets have gaps of their own
        self._settled: dict[TopicPartition, int] = {}

    def settled(self, next_offsets: Mapping[TopicPartition, int]) -> None:
        """Take note of what has been made durable and committed."""
        self._settled |= next_offsets

    def holes(self, records: Sequence[Record]) -> dict[TopicPartition, int]:
        """Return where to go back to, by partition; nothing in the normal case. Raises Unavailable.

        Partitions without records are compared with what was settled: a quiet one may have lost its tail too. Offsets that
        are gone from the topic (retention, compaction) look like a hole: going back once is enough, unless a rebalance came
        in between, for that takes the source to where the commit stands. A gap among the records is a hole too; a topic where
        it is still there the second time has gaps by nature (transactions leave them), and is not asked for them any more.
        """
        assigned = self._assignments()
        if assigned != self._assigned:
            self._sought.clear()
            self._assigned = assigned
        first = first_offsets(records)
        expected = self._settled | first
        progress = self._store.progress(expected) if expected else {}
        durable = {partition: progress.get(partition, Progress()).next_offset for partition in expected}
        holes = {partition: offset for partition, offset in durable.items() if offset < expected[partition]}
        for partition in _broken(records, durable) - holes.keys():
            if self._sought.get(partition) == durable[partition]:
                self._gappy.add(partition.topic)
            if partition.topic not in self._gappy:
                holes[partition] = durable[partition]
        for partition in first.keys() - holes.keys():
            self._sought.pop(partition, None)
        fresh = {partition: offset for partition, offset in holes.items() if self._sought.get(partition) != offset}
        self._sought |= fresh
        for partition, offset in fresh.items():
            log.warning("store_behind", topic=partition.topic, partition=partition.partition, reads_again_from=offset)
        return fresh
