"""The notifier: alerts out as signed webhooks, each id until it has arrived and never again.

The main thread reads the alerts topic, queues each alert durably for every endpoint, and only then commits. Each endpoint
has senders of its own, which take what is due from the delivery log, so a slow endpoint does not hold up another. Waiting
is for a condition, never for a while.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
from pydantic import ValidationError

from pipeline.adapters.delivery_log import DeliveryLog
from pipeline.adapters.health import Readiness
from pipeline.adapters.streams import Record, Source
from pipeline.clock import wall_clock_ms
from pipeline.core.delivery import Delivery, RetryPolicy, Status
from pipeline.core.refusals import Origin, dead_letter, refusal
from pipeline.errors import Unavailable
from pipeline.events import Alert, DeadLetter
from pipeline.jobs.notify.desk import Desk, Letters
from pipeline.jobs.notify.grouper import grouping_of, planned
from pipeline.jobs.notify.inhibitor import Inhibitor
from pipeline.jobs.notify.sender import LEASE_MARGIN_MS, LONGEST_WAIT_S, RETRY_S, Receiver, Sender
from pipeline.settings import NotifySettings

POLL_RECORDS = 500
STUCK_AFTER_S = 60.0

log = structlog.get_logger()


class Notifier:
    """Reads alerts, queues them for every endpoint, and lets the senders work.

    ``market_holds_ms``: how long the word of a market with an alert holds back those of its members; 0: never.
    """

    def __init__(
        self, source: Source, receivers: Sequence[Receiver], desk: Desk, senders_each: int, market_holds_ms: int
    ) -> None:
        self._source = source
        self._desk = desk
        self._receivers = tuple(receivers)
        self._inhibitor = Inhibitor(desk, market_holds_ms)
        self._ended = threading.Event()
        self._senders = tuple(Sender(receiver, desk, self._inhibitor, self._ended) for receiver in receivers)
        self._senders_each = senders_each
        self._wake = threading.Condition()
        self._taken: Sequence[Record] = ()
        self._failure: BaseException | None = None
        self._stepped_ms = desk.now_ms()
        self._waiting = 0
        self._held = Counter[Status]()

    def step(self, timeout_ms: int = 0) -> int:
        """Take what the topic has, queue it durably, commit; return the number of records.

        Raises Unavailable, and may then be called again: it goes on with the same records.
        """
        records = self._taken = self._taken or self._source.poll(POLL_RECORDS, timeout_ms)
        if records:
            self._queue_all(records)
            self._source.commit({record.topic_partition: record.offset + 1 for record in records})
            self._taken = ()
        self._held = sum((self._inhibitor.release(receiver.endpoint) for receiver in self._receivers), Counter[Status]())
        if records:
            with self._wake:
                self._wake.notify_all()
        self._waiting = self.waiting()
        self._desk.metrics.set("undelivered_alerts", self._waiting)
        self._desk.metrics.set("inhibited_alerts", self._held[Status.INHIBITED])
        self._desk.metrics.set("silenced_alerts", self._held[Status.SILENCED])
        self._stepped_ms = self._desk.now_ms()
        return len(records)

    def readiness(self) -> Readiness:
        """Return whether the topic is being read. Any thread may ask; a slow endpoint is no reason to restart."""
        idle_s = (self._desk.now_ms() - self._stepped_ms) / 1000
        if idle_s > STUCK_AFTER_S:
            return Readiness(False, f"the alerts topic was not read for {idle_s:.0f} s; Kafka or Redis does not answer")
        inhibited, silenced = self._held[Status.INHIBITED], self._held[Status.SILENCED]
        by_market = f", {inhibited} are held back by their market's" if inhibited else ""
        by_silence = f", {silenced} are silenced" if silenced else ""
        return Readiness(True, f"{self._waiting} alerts wait for an endpoint{by_market}{by_silence}")

    def deliver_due(self) -> int:
        """Send in this thread whatever is due now; return the number of deliveries taken. For hosts without threads."""
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
        """Work until ``stop`` is set, or with ``until_idle`` until nothing is left.

        A server that does not answer is waited for; any other error, also of a sender, ends the run.
        """
        threads = [threading.Thread(target=self._send, args=(s,)) for s in self._senders for _ in range(self._senders_each)]
        for thread in threads:
            thread.start()
        try:
            while not (stop.is_set() or self._ended.is_set()):
                if self._patient_step(poll_timeout_ms, stop) and until_idle:
                    break
        finally:
            self._end()
            for thread in threads:
                thread.join()
        if self._failure is not None:
            raise self._failure

    def _patient_step(self, timeout_ms: int, stop: threading.Event) -> bool:
        """Do a step; say whether nothing at all is left to do."""
        try:
            return self.step(timeout_ms) == 0 and self.idle()
        except Unavailable as error:
            log.warning("server_unavailable", error=str(error), next_try_s=RETRY_S)
            stop.wait(RETRY_S)
            return False

    def _queue_all(self, records: Sequence[Record]) -> None:
        """Queue alerts by event time, of equal ones the market's first, so that it can speak for its members."""
        alerts = [(alert, record) for record in records if (alert := self._alert_in(record)) is not None]
        self._inhibitor.refresh()
        for alert, record in sorted(alerts, key=lambda each: (each[0].event_time_ms, each[0].market is None)):
            plan = planned(self._desk, alert)
            for receiver in self._receivers:
                self._inhibitor.take(_delivery(record, alert, receiver.endpoint, self._desk.now_ms(), plan), alert)
            self._inhibitor.listen(alert)

    def _alert_in(self, record: Record) -> Alert | None:
        try:
            return Alert.model_validate_json(record.value)
        except ValidationError as error:
            self._desk.letters.write(invalid_letter(record, error, self._desk.now_ms()))
            return None

    def _send(self, sender: Sender) -> None:
        try:
            while not self._ended.is_set():
                self._patient_send(sender)
        except BaseException as error:  # the thread has nobody to raise to: the main loop ends and raises it
            self._failure = error
            self._end()

    def _patient_send(self, sender: Sender) -> None:
        try:
            if not sender.step():
                with self._wake:
                    self._wake.wait(sender.wait_s())
        except Unavailable as error:
            log.warning("server_unavailable", error=str(error), next_try_s=RETRY_S)
            self._ended.wait(RETRY_S)

    def _end(self) -> None:
        self._ended.set()
        with self._wake:
            self._wake.notify_all()


def make_notifier(
    notify: NotifySettings,
    source: Source,
    receivers: Sequence[Receiver],
    delivery_log: DeliveryLog,
    letters: Letters,
    now_ms: Callable[[], int] = wall_clock_ms,
) -> Notifier:
    """Return the notifier that the settings describe: every host has the same one."""
    desk = Desk(
        log=delivery_log,
        policy=RetryPolicy(notify.retry_schedule_s, notify.max_retry_after_s),
        letters=letters,
        metrics=letters.metrics,
        now_ms=now_ms,
        lease_ms=round(1000 * notify.timeout_s) + LEASE_MARGIN_MS,
        grouping=grouping_of(notify),
    )
    return Notifier(source, receivers, desk, notify.senders, round(1000 * notify.market_holds_s))


def _delivery(record: Record, alert: Alert, endpoint: str, now_ms: int, plan: tuple[str | None, int]) -> Delivery:
    group, due_ms = plan
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
        next_attempt_ms=due_ms,
        group=group,
    )


def invalid_letter(record: Record, error: ValidationError, now_ms: int) -> DeadLetter:
    """Return the dead letter of a record of the alerts topic that is no alert."""
    origin = Origin(record.topic, record.partition, record.offset, record.timestamp_ms, record.key, record.value)
    return dead_letter(refusal(error, record.value), origin, now_ms, "; only the trends job writes this topic")
