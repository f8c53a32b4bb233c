"""Notice a partition that should deliver and does not (kafka-python 3.0.7 and 3.0.8 had such a fault after rebalances)."""

from collections.abc import Collection

from pipeline.adapters.streams import TopicPartition


class StallDetector:
    """Knows since when each assigned partition has been silent although the source had room. Times are seconds."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._silent_since: dict[TopicPartition, float] = {}
        self._strikes: dict[TopicPartition, int] = {}

    def observe(
        self, now_s: float, assigned: Collection[TopicPartition], delivered: Collection[TopicPartition], room: bool
    ) -> list[TopicPartition]:
        """Note one poll; return the partitions silent for the whole timeout. Without ``room`` silence proves nothing."""
        for partition in delivered:
            self._strikes.pop(partition, None)
        heard = set(delivered) if room else set(assigned)
        before = self._silent_since
        self._silent_since = {p: now_s if p in heard else before.get(p, now_s) for p in assigned}
        return [p for p, since in self._silent_since.items() if now_s - since >= self._timeout_s]

    def excuse(self, partition: TopicPartition, now_s: float) -> None:
        """Start anew for a partition that is silent because it has nothing to say."""
        self._silent_since[partition] = now_s
        self._strikes.pop(partition, None)

    def strike(self, partition: TopicPartition, now_s: float) -> int:
        """Count one stall and start the clock anew; return how many there were since the last record."""
        self._silent_since[partition] = now_s
        self._strikes[partition] = self._strikes.get(partition, 0) + 1
        return self._strikes[partition]
