"""A notifier on memory streams, with a clock and endpoints that a test holds in its hands."""

from collections.abc import Callable

from pipeline.adapters.delivery_log import MemoryDeliveryLog
from pipeline.adapters.memory import MemoryBroker, MemorySink, MemorySource
from pipeline.core.delivery import Answer, Outcome
from pipeline.core.grouping import Grouping
from pipeline.events import Alert, DeadLetter
from pipeline.jobs.notify.desk import Letters
from pipeline.jobs.notify.notifier import Notifier, make_notifier
from pipeline.settings import NotifySettings
from pipeline.telemetry import Metrics

OK = Answer(Outcome.DELIVERED, 200)
DOWN = Answer(Outcome.SERVER_ERROR, 500, excerpt="down")
NOTIFY = NotifySettings(retry_schedule_s=(5.0, 60.0), max_retry_after_s=600.0, timeout_s=25.0)


class Clock:
    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


class Recorder:
    """An endpoint that answers from a function and remembers what it was sent, and when."""

    def __init__(
        self, clock: Clock, answer: Callable[[str, int], Answer] = lambda _id, _before: OK, endpoint: str = "e1"
    ) -> None:
        self.endpoint = self.name = endpoint
        self.sent: list[tuple[str, int]] = []
        self.bodies: dict[str, set[bytes]] = {}
        self._clock = clock
        self._answer = answer

    def send(self, delivery_id: str, body: bytes, now_ms: int) -> Answer:
        before = sum(sent == delivery_id for sent, _ in self.sent)
        self.sent.append((delivery_id, now_ms))
        self.bodies.setdefault(delivery_id, set()).add(body)
        return self._answer(delivery_id, before)

    def ids(self) -> list[str]:
        return [delivery_id for delivery_id, _ in self.sent]


class House:
    """A broker with alerts and everything a notifier needs; ``notifier`` gives a new process on the same durable things.

    The one before it is gone then.
    """

    def __init__(self) -> None:
        self.broker = MemoryBroker({"alerts": 1, "dead-letters": 1})
        self.clock = Clock()
        self.log = MemoryDeliveryLog()
        self.metrics = Metrics()
        self._source: MemorySource | None = None

    def produce(self, *alerts: Alert) -> None:
        for alert in alerts:
            self.broker.append("alerts", alert.entity.encode(), alert.to_json(), alert.event_time_ms)

    def notifier(
        self,
        *receivers: Recorder,
        log: MemoryDeliveryLog | None = None,
        market_holds_ms: int = 0,
        grouping: Grouping | None = None,
    ) -> Notifier:
        letters = Letters(MemorySink(self.broker), "dead-letters", self.metrics)
        wished: dict[str, object] = {"market_holds_s": market_holds_ms / 1000}
        if grouping is not None:
            waits = {"group_wait_s": grouping.wait_ms / 1000, "group_interval_s": grouping.interval_ms / 1000}
            wished |= {"group_by": grouping.by, **waits}
        if self._source is not None:
            self._source.close()
        self._source = MemorySource(self.broker, "notifier", ["alerts"])
        notify = NOTIFY.model_copy(update=wished)
        return make_notifier(notify, self._source, receivers, log or self.log, letters, self.clock)

    def letters(self) -> list[DeadLetter]:
        return [DeadLetter.model_validate_json(record.value) for record in self.broker.records("dead-letters")]

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"groundswell_{name}", labels) or 0.0


def settle_all(house: House, notifier: Notifier, steps: int = 20, step_ms: int = 10_000) -> None:
    """Let processing time pass, delivering what becomes due."""
    notifier.step()
    for _ in range(steps):
        notifier.deliver_due()
        house.clock.now_ms += step_ms
