"""The source on Apache Kafka, through kafka-python 3.

Traps that shape it (each one measured): a rebalance listener must be asynchronous and must never raise; partitions that
arrive while paused arrive unpaused; the default of ``auto_offset_reset`` loses what came before the first start; a join that
ends between two polls is thrown away.
"""

import threading
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

import structlog
from kafka import AsyncConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, errors
from kafka import TopicPartition as ClientPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import MemberState

from pipeline.adapters.kafka_client import (
    CLOSE_TIMEOUT_MS,
    COMMIT_TIMEOUT_MS,
    FETCH,
    LOOKUP_TIMEOUT_MS,
    client_options,
    require_broker,
    require_crc32c,
    translated,
)
from pipeline.adapters.stalls import StallDetector
from pipeline.adapters.streams import Record, TopicPartition
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.settings import KafkaSettings
from pipeline.telemetry import Metrics

REBALANCE_POLL_MS = 3_000
log = structlog.get_logger()


class _Handover(AsyncConsumerRebalanceListener):  # type: ignore[misc]  # the library has no types
    """Tells the source which partitions come and go. Runs on the client's own thread while the source waits in a poll."""

    def __init__(self, source: "KafkaSource") -> None:
        self._source = source

    async def on_partitions_revoked(self, revoked: set[ClientPartition]) -> None:
        await self._source.hand_over(revoked)

    async def on_partitions_lost(self, lost: set[ClientPartition]) -> None:
        self._source.forget(lost)

    async def on_partitions_assigned(self, assigned: set[ClientPartition]) -> None:
        self._source.receive(assigned)


class KafkaSource:
    """A member of a consumer group. See ``streams.Source``. Records that were not committed are delivered again."""

    def __init__(self, kafka: KafkaSettings, group: str, topics: Sequence[str], metrics: Metrics | None = None) -> None:
        """Connect. Raises Unavailable without a broker and ConfigurationError for a topic that is missing."""
        require_crc32c()
        self._kafka = kafka
        self._group = group
        self._topics = list(topics)
        self._metrics = metrics
        self._paused = False
        self._closed = False
        self._assignments = 0
        self._asked: dict[ClientPartition, int] = {}  # commits asked for that the broker has not confirmed
        self._stalls = StallDetector(kafka.stall_timeout_s)
        self._joined_s = monotonic()  # when this member was last seen settled in its group
        self._consumer = self._connect()

    def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        """See ``streams.Source.poll``. A broker that does not answer delivers nothing."""
        self._check_open()
        fetched = self._fetch(max_records, timeout_ms)
        records = [
            Record(r.topic, r.partition, r.offset, r.key, r.value or b"", r.timestamp, tuple(r.headers))
            for batch in fetched.values()
            for r in batch
        ]
        self._watch(fetched, room=len(records) < max_records and not self._paused)
        return records

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """See ``streams.Source.commit``. Where a rebalance is in the way it is finished first; raises Unavailable."""
        self._check_open()
        owned = self._consumer.assignment()
        self._asked |= {ClientPartition(*p): offset for p, offset in offsets.items() if ClientPartition(*p) in owned}
        deadline = monotonic() + COMMIT_TIMEOUT_MS / 1000
        with translated(f"commit of group {self._group}", self._kafka):
            while not self._send_commits():
                if monotonic() >= deadline:
                    raise Unavailable(f"group {self._group} does not finish its rebalance; {len(self._asked)} offsets wait")
                log.debug("commit_waits_for_rebalance", group=self._group, partitions=len(self._asked))
                self._finish_rebalance()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """See ``streams.Source.seek``."""
        self._check_open()
        if ClientPartition(*partition) in self._consumer.assignment():
            self._consumer.seek(ClientPartition(*partition), offset)

    def pause(self) -> None:
        """See ``streams.Source.pause``."""
        self._paused = True
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        """See ``streams.Source.resume``."""
        self._paused = False
        self._consumer.resume(*self._consumer.assignment())

    def lag(self) -> Mapping[TopicPartition, int]:
        """See ``streams.Source.lag``. Raises Unavailable."""
        self._check_open()
        with translated("lag", self._kafka):
            return self._lag(self._consumer.assignment())

    def rebalance_due(self) -> bool:
        """See ``streams.Source.rebalance_due``."""
        return self._is_settled() and bool(self._consumer._coordinator.need_rejoin())

    def assignments(self) -> int:
        """See ``streams.Source.assignments``."""
        return self._assignments

    def close(self) -> None:
        """See ``streams.Source.close``. Takes at most about five seconds; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._disconnect()

    def receive(self, assigned: set[ClientPartition]) -> None:
        """Count the assignment; keep partitions that arrive while the source is paused from delivering."""
        self._assignments += 1
        if self._paused:
            self._consumer.pause(*assigned)

    def forget(self, lost: set[ClientPartition]) -> None:
        """Drop commits of partitions that another member owns by now."""
        for partition in lost:
            self._asked.pop(partition, None)

    async def hand_over(self, revoked: set[ClientPartition]) -> None:
        """Commit what was asked for of the partitions that go; never raise, for that would end the poll."""
        offsets = {p: OffsetAndMetadata(self._asked.pop(p), "", -1) for p in revoked if p in self._asked}
        if not offsets:
            return
        try:
            await self._consumer.commit_async(offsets)
        except errors.KafkaError as error:
            log.warning("commit_on_revoke_failed", group=self._group, partitions=len(offsets), error=repr(error))

    def _connect(self) -> KafkaConsumer:
        require_broker(self._kafka)
        with translated(f"group {self._group}", self._kafka):
            consumer = KafkaConsumer(
                group_id=self._group,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                allow_auto_create_topics=False,
                partition_assignment_strategy=[CooperativeStickyAssignor],
                session_timeout_ms=self._kafka.session_timeout_ms,
                heartbeat_interval_ms=min(3_000, self._kafka.session_timeout_ms // 3),
                max_poll_interval_ms=self._kafka.max_poll_interval_ms,
                metrics_enabled=False,
                **FETCH,
                **client_options(self._kafka),
            )
            missing = sorted(set(self._topics) - set(consumer.topics()))
            if missing:
                consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
                raise ConfigurationError(f"topic {missing[0]!r} does not exist; `groundswell provision` creates the topics")
            consumer.subscribe(self._topics, listener=_Handover(self))
            return consumer

    def _reconnect(self) -> None:
        """Replace the consumer; where no broker answers, keep the old one and try again after another timeout."""
        self._joined_s = monotonic()
        try:
            fresh = self._connect()
        except Unavailable as error:
            log.warning("consumer_not_recreated", group=self._group, error=str(error))
            return
        log.warning("consumer_recreated", group=self._group)
        self._disconnect()
        self._consumer = fresh

    def _count_stall(self) -> None:
        if self._metrics is not None:
            self._metrics.count("stalls_total")

    def _disconnect(self) -> None:
        try:
            self._consumer.close(autocommit=False, timeout_ms=CLOSE_TIMEOUT_MS)
        except errors.KafkaError as error:  # the group notices by the session timeout
            log.warning("leave_group_failed", group=self._group, error=repr(error))

    def _check_open(self) -> None:
        if self._closed:
            raise ConfigurationError("this source is closed; make a new one of the same group to go on")

    def _fetch(self, max_records: int, timeout_ms: int) -> dict[ClientPartition, list[Any]]:
        """Poll; while the group rebalances, long enough for that to end within the call.

        kafka-python 3.0.12 throws a join away that ends between two polls and joins again, which starts the next
        rebalance: members with short polls and long work in between would never settle.
        """
        self._resume_rebalance()
        patience_ms = timeout_ms if self._is_settled() else max(timeout_ms, REBALANCE_POLL_MS)
        with translated(f"poll of group {self._group}", self._kafka):
            try:
                fetched: dict[ClientPartition, list[Any]] = self._consumer.poll(timeout_ms=patience_ms, max_records=max_records)
            except errors.RetriableError as error:
                log.warning("poll_failed", group=self._group, error=repr(error))
                threading.Event().wait(timeout_ms / 1000)  # a refused connection fails at once: no busy loop
                return {}
            return fetched

    def _is_settled(self) -> bool:
        return bool(self._consumer.group_metadata().state == MemberState.STABLE)

    def _resume_rebalance(self) -> None:
        """Join again where nobody waits for the join any more.

        A change of metadata within a short poll begins a rebalance. Where its answer comes between two polls, kafka-python
        3.0.12 takes the metadata for settled and the group for rebalancing: no poll would end that, and no commit succeed.
        """
        coordinator = self._consumer._coordinator
        if not self._is_settled() and not coordinator.need_rejoin():
            coordinator.request_rejoin()

    def _finish_rebalance(self) -> None:
        """Take part in a rebalance without taking records."""
        was_paused = self._paused
        self.pause()
        self._resume_rebalance()
        self._consumer.poll(timeout_ms=REBALANCE_POLL_MS)
        if not was_paused:
            self.resume()

    def _send_commits(self) -> bool:
        """Commit what was asked for and is still owned; tell whether nothing waits for the end of a rebalance."""
        self.forget(set(self._asked) - self._consumer.assignment())
        offsets = {p: OffsetAndMetadata(offset, "", -1) for p, offset in self._asked.items()}
        try:
            self._consumer.commit(offsets, timeout_ms=COMMIT_TIMEOUT_MS)
        except (errors.CommitFailedError, errors.RebalanceInProgressError):
            return False
        self._asked = {}
        return True

    def _lag(self, partitions: set[ClientPartition]) -> dict[TopicPartition, int]:
        positions = {p: self._consumer.position(p, timeout_ms=LOOKUP_TIMEOUT_MS) for p in partitions}
        ends = self._consumer.end_offsets(list(partitions), timeout_ms=LOOKUP_TIMEOUT_MS)
        return {TopicPartition(*p): ends[p] - position for p, position in positions.items() if position is not None}

    def _watch(self, fetched: Mapping[ClientPartition, object], room: bool) -> None:
        """Seek a partition again that has lag and is silent; where that did not help, start the consumer anew.

        A rebalance that does not end is cured by a new consumer too.
        """
        now_s = monotonic()
        if self._is_settled():
            self._joined_s = now_s
        elif now_s - self._joined_s >= self._kafka.stall_timeout_s:
            self._count_stall()
            self._reconnect()
            return
        assigned = [TopicPartition(*p) for p in self._consumer.assignment()]
        silent = self._stalls.observe(now_s, assigned, [TopicPartition(*p) for p in fetched], room)
        if not silent:
            return
        try:
            self._rescue(silent, self._lag({ClientPartition(*p) for p in silent}), now_s)
        except errors.KafkaError as error:
            log.warning("lag_unknown", group=self._group, error=repr(error))

    def _rescue(self, silent: list[TopicPartition], lag: Mapping[TopicPartition, int], now_s: float) -> None:
        strikes = 0
        for partition in silent:
            if lag.get(partition, 1) <= 0:
                self._stalls.excuse(partition, now_s)
                continue
            strikes = max(strikes, self._stalls.strike(partition, now_s))
            self._seek_again(partition)
        if strikes > 1:
            self._reconnect()

    def _seek_again(self, partition: TopicPartition) -> None:
        log.warning("partition_stalled", group=self._group, topic=partition.topic, partition=partition.partition)
        self._count_stall()
        position = self._consumer.position(ClientPartition(*partition), timeout_ms=LOOKUP_TIMEOUT_MS)
        if position is not None:
            self._consumer.seek(ClientPartition(*partition), position)
