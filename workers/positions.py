"""Notice when the profile store lost its tail, and read that part again.

Redis may lose its last second of writes when its machine dies; Kafka's commit of the same records may have survived. The
store's own progress counter was written before that commit, so on the first record of a partition the two are compared:
where the store stands further back, the source is sought back to it. The fences turn what was not lost into no-ops.
"""

from collections.abc import Sequence

import structlog

from pipeline.adapters.stores import ProfileStore
from pipeline.adapters.streams import Record, Source, TopicPartition

log = structlog.get_logger()


class Positions:
    """Remembers the next offset of every partition; an unexpected one is checked against the store's progress."""

    def __init__(self, source: Source, store: ProfileStore) -> None:
        self._source = source
        self._store = store
        self._next: dict[TopicPartition, int] = {}

    def follow(self, records: Sequence[Record]) -> Sequence[Record]:
        """Return the records that follow on what is durable; of a partition that must go back, none.

        Raises Unavailable, and may then be called again with the same records.
        """
        first: dict[TopicPartition, int] = {}
        ends: dict[TopicPartition, int] = {}
        for record in records:
            first.setdefault(record.topic_partition, record.offset)
            ends[record.topic_partition] = record.offset + 1
        jumped = [partition for partition, offset in first.items() if self._next.get(partition) != offset]
        lost = self._lost(jumped, first)
        for partition, offset in lost.items():
            log.warning("store_behind_commit", topic=partition.topic, partition=partition.partition, seek_to=offset)
            self._source.seek(partition, offset)
        self._next |= ends | lost
        return [record for record in records if record.topic_partition not in lost] if lost else records

    def _lost(self, jumped: Sequence[TopicPartition], first: dict[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return where to go back to. Where the source cannot deliver that offset any more, going back once is enough."""
        if not jumped:
            return {}
        progress = self._store.progress(jumped)
        behind = {p: progress[p].next_offset for p in jumped if p in progress and progress[p].next_offset < first[p]}
        return {partition: offset for partition, offset in behind.items() if self._next.get(partition) != offset}
