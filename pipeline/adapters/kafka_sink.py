"""The sink on Apache Kafka, through kafka-python 3.

Traps that shape it (each one measured): idempotence is lost silently unless asked for; the producer has no memory bound; its
``flush`` hides failed records; a failed producer has spent its sequence numbers.
"""

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

import structlog
from kafka import KafkaProducer, errors

from pipeline.adapters.kafka_client import CLOSE_TIMEOUT_MS, client_options, require_broker, require_crc32c, translated
from pipeline.adapters.partitioning import partition_for
from pipeline.adapters.streams import Headers, check_record
from pipeline.clock import wall_clock_ms
from pipeline.settings import KafkaSettings
from pipeline.topics import TOPICS

MAX_IN_FLIGHT_BYTES = 32 * 2**20
MAX_REQUEST_BYTES = max(topic.max_record_bytes for topic in TOPICS) + 64 * 2**10
LINGER_MS = 10
log = structlog.get_logger()


class KafkaSink:
    """An idempotent producer behind a bounded window of unfinished sends. See ``streams.Sink``. One thread uses it."""

    def __init__(self, kafka: KafkaSettings, clock_ms: Callable[[], int] = wall_clock_ms) -> None:
        """Connect. Raises Unavailable without a broker. ``clock_ms`` decides which timestamps lie in the future."""
        require_crc32c()
        self._kafka = kafka
        self._clock_ms = clock_ms
        self._window: deque[tuple[Any, int]] = deque()
        self._bytes = 0
        self._written = 0
        self._failures: list[BaseException] = []
        self._producer: KafkaProducer | None = self._connect()

    def write(self, topic: str, key: bytes | None, value: bytes, timestamp_ms: int, headers: Headers = ()) -> None:
        """See ``streams.Sink.write``. Raises Unavailable where the broker does not even tell the topic's partitions."""
        check_record(topic, key, value, timestamp_ms, self._clock_ms())
        with translated(f"write to {topic}", self._kafka):
            if self._producer is None:
                self._producer = self._connect()
            partition = None if key is None else partition_for(key, len(self._producer.partitions_for(topic)))
            future = self._producer.send(
                topic, value=value, key=key, headers=list(headers), partition=partition, timestamp_ms=timestamp_ms
            )
        size = len(value) + len(key or b"")
        self._window.append((future, size))
        self._bytes += size
        self._written += 1
        while len(self._window) > self._kafka.max_in_flight_records or self._bytes > MAX_IN_FLIGHT_BYTES:
            self._settle(self._patience())

    def flush(self) -> None:
        """See ``streams.Sink.flush``. After a failure the producer is made anew: its sequence numbers are spent."""
        deadline = self._patience()
        if self._producer is not None and self._window:
            try:
                self._producer.flush(timeout=max(0.0, deadline - monotonic()))
            except errors.KafkaTimeoutError:
                log.warning("flush_timed_out", unfinished=len(self._window))
        while self._window:
            self._settle(deadline)
        failures, written = self._failures, self._written
        self._failures, self._written = [], 0
        if failures:
            self._discard()
            with translated(f"{len(failures)} of {written} records", self._kafka):
                raise failures[0]

    def close(self) -> None:
        """See ``streams.Sink.close``."""
        try:
            self.flush()
        finally:
            self._discard()

    def _connect(self) -> KafkaProducer:
        require_broker(self._kafka)
        with translated("a producer", self._kafka):
            return KafkaProducer(
                enable_idempotence=True,
                acks="all",
                linger_ms=LINGER_MS,
                batch_size=256 * 2**10,
                max_request_size=MAX_REQUEST_BYTES,
                delivery_timeout_ms=self._kafka.delivery_timeout_ms,
                request_timeout_ms=min(30_000, self._kafka.delivery_timeout_ms - LINGER_MS),
                max_block_ms=min(10_000, self._kafka.delivery_timeout_ms),
                allow_auto_create_topics=False,
                metrics_enabled=False,
                **client_options(self._kafka),
            )

    def _patience(self) -> float:
        """Return the monotonic second by which every send of now is delivered or has failed."""
        return monotonic() + self._kafka.delivery_timeout_ms / 1000 + 5.0

    def _settle(self, deadline: float) -> None:
        """Wait for the oldest unfinished send and keep its error, if it has one."""
        future, size = self._window.popleft()
        self._bytes -= size
        try:
            future.get(timeout=max(0.0, deadline - monotonic()))
        except errors.KafkaError as error:
            self._failures.append(error)

    def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.close(timeout=CLOSE_TIMEOUT_MS / 1000)
        except errors.KafkaError as error:
            log.warning("producer_close_failed", error=repr(error))
