"""The notifier: alerts out as signed webhooks, each id until it has arrived and never again.

The main thread reads the alerts topic, queues each alert durably for every endpoint, and only then commits. Each endpoint
has senders of its own, which take what is due from the delivery log, so a slow endpoint does not hold up another. All rules
are in ``core.delivery``; time is asked from ``now_ms``, waiting is for a condition.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import structlog
from pydantic import ValidationError

from pipeline.adapters.delivery_log import DeliveryLog
from pipeline.adapters.health import Readiness
from pipeline.adapters.streams import Record, Sink, Source
from pipeline.core.delivery import (
    Answer,
    Delivery,
    Outcome,
    RetryPolicy,
    Status,
    body,
    endpoint_after,
    exhausted_letter,
    settle,
)
from pipeline.errors import Reason
from pipeline.events import Alert, DeadLetter
from pipeline.telemetry import Metrics

LEASE_MARGIN_MS = 5_000  # beyond the timeout of an attempt, before another sender may take what a dead one had claimed
LONGEST_WAIT_S = 1.0  # another process may have queued something; look again after this long
POLL_RECORDS = 500
STUCK_AFTER_S = 60.0

log = structlog.get_logger()


class Receiver(Protocol):
    """Where webhooks go: ``adapters.webhook.WebhookReceiver``, or a function in a test."""

    @property
    def endpoint(self) -> str:
        """Return the id under which the delivery log knows it."""

    @property
    def name(self) -> str:
        """Return what people see, without secrets."""

    def send(self, delivery_id: str, body: bytes, now_ms: int) -> Answer:
        """Try once."""


class Letters:
    """Writes dead letters, each durable before the call returns; several threads share it."""

    def __init__(self, sink: Sink, topic: str, metrics: Metrics) -> None:
        self._sink = sink
        self._topic = topic
        self._metrics = metrics
        self._lock = threading.Lock()

    def write(self, letter: DeadLetter) -> None:
        """Write one dead letter and wait until it is durable."""
        with self._lock:
            self._sink.write(self._topic, letter.topic.encode(), letter.to_json(), letter.timestamp_ms)
            self._sink.flush()
        self._metrics.count("dead_letters_total", topic=letter.topic, reason=letter.reason)


@dataclass(frozen=True, slots=True)
class Desk:
    """What every sender shares: the log, the rules, the way to the dead letters, the metrics and the clock."""

    log: DeliveryLog
    policy: RetryPolicy
    letters: Letters
    metrics: Metrics
    now_ms: Callable[[], int]
    lease_ms: int


class Sender:
    """Takes what is due for one endpoint and sends it. Several may serve one endpoint at once."""

    def __init__(self, receiver: Receiver, desk: Desk) -> None:
        self.receiver = receiver
        self._desk = desk

    def step(self) -> bool:
        """Send the delivery that is due longest; say whether there was one."""
        desk, endpoint = self._desk, self.receiver.endpoint
        state, now_ms = desk.log.endpoint(endpoint), desk.now_ms()
        if state.gone or now_ms < state.quiet_until_ms:
            return False
        delivery = desk.log.claim(endpoint, now_ms, desk.lease_ms)
        if delivery is None:
            return False
        self._attempt(delivery)
        return True

    def drain(self) -> int:
        """Send until nothing is due; return the number of attempts."""
        attempts = 0
        while self.step():
            attempts += 1
        return attempts

    def idle(self) -> bool:
        """Say whether nothing is left to send, as far as the endpoint lets itself be reached."""
        endpoint = self.receiver.endpoint
        return self._desk.log.waiting(endpoint) == 0 or self._desk.log.endpoint(endpoint).gone

    def wait_s(self) -> float:
        """Return how long nothing can be due, at most ``LONGEST_WAIT_S``."""
        endpoint = self.receiver.endpoint
        due_ms, state = self._desk.log.next_due_ms(endpoint), self._desk.log.endpoint(endpoint)
        if due_ms is None or state.gone:
            return LONGEST_WAIT_S
        return min(LONGEST_WAIT_S, max(0, max(due_ms, state.quiet_until_ms) - self._desk.now_ms()) / 1000)

    def _attempt(self, delivery: Delivery) -> None:
        desk = self._desk
        sent = body(Alert.model_validate_json(delivery.value))
        begun = perf_counter()
        answer = self.receiver.send(delivery.delivery_id, sent, desk.now_ms())
        desk.metrics.observe("delivery_seconds", perf_counter() - begun)
        desk.metrics.count("deliveries_total", outcome=answer.outcome)
        settled = settle(delivery, answer, desk.policy, desk.now_ms())
        self._remember_endpoint(answer)
        if settled.status is Status.EXHAUSTED:
            desk.letters.write(exhausted_letter(settled, self.receiver.name, sent))
        desk.log.store(settled, desk.now_ms())
        if answer.outcome is not Outcome.DELIVERED:
            log.warning("delivery failed", to=self.receiver.name, id=delivery.delivery_id, answer=str(answer), now=settled.status)

    def _remember_endpoint(self, answer: Answer) -> None:
        desk, endpoint = self._desk, self.receiver.endpoint
        state = desk.log.endpoint(endpoint)
        after = endpoint_after(state, answer, desk.policy, desk.now_ms())
        if after != state:
            desk.log.set_endpoint(endpoint, after)


class Notifier:
    """Reads alerts, queues them for every endpoint, and lets the senders work."""

    def __init__(self, source: Source, receivers: Sequence[Receiver], desk: Desk, senders_each: int = 4) -> None:
        self._source = source
        self._desk = desk
        self._receivers = tuple(receivers)
        self._senders = tuple(Sender(receiver, desk) for receiver in receivers)
        self._senders_each = senders_each
        self._wake = threading.Condition()
        self._ended = threading.Event()
        self._failure: BaseException | None = None
        self._stepped_ms = desk.now_ms()
        self._waiting = 0

    def step(self, timeout_ms: int = 0) -> int:
        """Take what the topic has, queue it durably, commit; return the number of records."""
        records = self._source.poll(POLL_RECORDS, timeout_ms)
        for record in records:
            self._queue(record)
        if records:
            self._source.commit({record.topic_partition: record.offset + 1 for record in records})
            with self._wake:
                self._wake.notify_all()
        self._waiting = self.waiting()
        self._desk.metrics.set("undelivered_alerts", self._waiting)
        self._stepped_ms = self._desk.now_ms()
        return len(records)

    def readiness(self) -> Readiness:
        """Return whether the topic is being read. Any thread may ask; a slow endpoint is no reason to restart."""
        idle_s = (self._desk.now_ms() - self._stepped_ms) / 1000
        if idle_s > STUCK_AFTER_S:
            return Readiness(False, f"the alerts topic was not read for {idle_s:.0f} s; Kafka or Redis does not answer")
        return Readiness(True, f"{self._waiting} alerts wait for an endpoint")

    def deliver_due(self) -> int:
        """Send in this thread whatever is due now; return the number of attempts. For hosts without threads."""
        return sum(sender.drain() for sender in self._senders)

    def waiting(self) -> int:
        """Return the number of alerts that wait for an endpoint."""
        return sum(self._desk.log.waiting(receiver.endpoint) for receiver in self._receivers)

    def wait_s(self) -> float:
        """Return how long nothing can be due at any endpoint."""
        return min((sender.wait_s() for sender in self._senders), default=LONGEST_WAIT_S)

    def idle(self) -> bool:
        """Say whether the topic is read to its end and nothing is left to send."""
        lag = self._source.lag()
        return bool(lag) and not any(lag.values()) and all(sender.idle() for sender in self._senders)

    def run(self, stop: threading.Event, until_idle: bool = False, poll_timeout_ms: int = 200) -> None:
        """Work until ``stop`` is set, or with ``until_idle`` until nothing is left. An error of a sender ends the run."""
        threads = [threading.Thread(target=self._send, args=(s,)) for s in self._senders for _ in range(self._senders_each)]
        for thread in threads:
            thread.start()
        try:
            while not (stop.is_set() or self._ended.is_set()):
                if self.step(poll_timeout_ms) == 0 and until_idle and self.idle():
                    break
        finally:
            self._end()
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def _queue(self, record: Record) -> None:
        try:
            alert = Alert.model_validate_json(record.value)
        except ValidationError as error:
            self._desk.letters.write(invalid_letter(record, error, self._desk.now_ms()))
            return
        for receiver in self._receivers:
            self._desk.log.add(_delivery(record, alert, receiver.endpoint, self._desk.now_ms()))

    def _send(self, sender: Sender) -> None:
        try:
            while not self._ended.is_set():
                if not sender.step():
                    with self._wake:
                        self._wake.wait(sender.wait_s())
        except BaseException as error:  # the thread has nobody to raise to: the main loop ends and raises it
            self._failure = error
            self._end()

    def _end(self) -> None:
        self._ended.set()
        with self._wake:
            self._wake.notify_all()


def _delivery(record: Record, alert: Alert, endpoint: str, now_ms: int) -> Delivery:
    return Delivery(
        endpoint=endpoint,
        delivery_id=alert.delivery_id,
        alert_id=alert.alert_id,
        revision=alert.revision,
        key=record.key,
        value=record.value,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp_ms,
        first_seen_ms=now_ms,
        next_attempt_ms=now_ms,
    )


def invalid_letter(record: Record, error: ValidationError, now_ms: int) -> DeadLetter:
    """Return the dead letter of a record of the alerts topic that is no alert."""
    first = error.errors(include_url=False)[0]
    reasons = {"json_invalid": Reason.INVALID_JSON, "missing": Reason.MISSING_FIELD}
    return DeadLetter(
        reason=reasons.get(first["type"], Reason.INVALID_VALUE),
        field=".".join(str(part) for part in first["loc"]) or "value",
        value=str(first["input"])[: DeadLetter.MAX_VALUE_CHARS],
        fix=f"{first['msg']}; only the trends job writes this topic",
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        first_seen_ms=now_ms,
        timestamp_ms=record.timestamp_ms,
        key=record.key,
        payload=record.value,
    )
