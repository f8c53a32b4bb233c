"""What all who deliver share: the delivery log, the rules, the way to the dead letters, the metrics and the clock."""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.adapters.delivery_log import DeliveryLog
from pipeline.adapters.streams import Sink
from pipeline.core.delivery import Delivery, RetryPolicy, Status
from pipeline.core.grouping import Grouping
from pipeline.events import DeadLetter, delivery_id
from pipeline.telemetry import Metrics


class Letters:
    """Writes dead letters, each durable before the call returns; several threads share it."""

    def __init__(self, sink: Sink, topic: str, metrics: Metrics) -> None:
        self._sink = sink
        self._topic = topic
        self.metrics = metrics
        self._lock = threading.Lock()

    def write(self, letter: DeadLetter) -> None:
        """Write one dead letter and wait until it is durable."""
        with self._lock:
            self._sink.write(self._topic, letter.topic.encode(), letter.to_json(), letter.timestamp_ms)
            self._sink.flush()
        self.metrics.count("dead_letters_total", topic=letter.topic, reason=letter.reason)


@dataclass(frozen=True, slots=True)
class Desk:
    """Held by every sender and by whoever holds back."""

    log: DeliveryLog
    policy: RetryPolicy
    letters: Letters
    metrics: Metrics
    now_ms: Callable[[], int]
    lease_ms: int
    grouping: Grouping | None = None

    def steps(self, delivery: Delivery) -> set[Status]:
        """Return where the steps of an alert up to this one, itself included, stand at its endpoint."""
        ids = (delivery_id(delivery.alert_id, revision) for revision in range(delivery.revision + 1))
        known = (self.log.get(delivery.endpoint, each) for each in ids)
        return {each.status for each in known if each is not None}
