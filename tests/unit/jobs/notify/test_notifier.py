import json
import threading
from collections.abc import Sequence
from random import Random

import pytest

from pipeline.adapters.delivery_log import MemoryDeliveryLog
from pipeline.adapters.memory import MemoryBroker
from pipeline.core.delivery import Answer, Delivery, Outcome, Status
from pipeline.errors import ConfigurationError, Reason, Unavailable
from tests.alerts import make_alert
from tests.unit.jobs.notify.house import DOWN, OK, House, Recorder, settle_all


@pytest.fixture
def house() -> House:
    return House()


def test_each_alert_goes_out_once_with_its_id(house: House) -> None:
    receiver = Recorder(house.clock)
    house.produce(make_alert("a1"), make_alert("a2"), make_alert("a1", 1))
    notifier = house.notifier(receiver)
    settle_all(house, notifier)
    assert sorted(receiver.ids()) == ["a1.0", "a1.1", "a2.0"]
    assert receiver.ids().index("a1.0") < receiver.ids().index("a1.1")
    (sent,) = receiver.bodies["a1.1"]
    assert json.loads(sent)["type"] == "alert.updated"
    assert notifier.idle()
    assert house.metric("deliveries_total", outcome="delivered") == 3


def test_a_failed_attempt_is_repeated_with_the_same_body_after_the_scheduled_wait(house: House) -> None:
    receiver = Recorder(house.clock, lambda _id, before: DOWN if before < 2 else OK)
    house.produce(make_alert("a1"))
    settle_all(house, house.notifier(receiver), steps=200, step_ms=500)
    times = [at for _, at in receiver.sent]
    assert len(times) == 3
    assert 5_000 <= times[1] - times[0] <= 6_000
    assert 60_000 <= times[2] - times[1] <= 66_500
    assert len(receiver.bodies["a1.0"]) == 1


def test_a_known_id_is_not_sent_again_when_the_topic_is_read_again(house: House) -> None:
    receiver = Recorder(house.clock)
    house.produce(make_alert("a1"), make_alert("a1"))
    settle_all(house, house.notifier(receiver))
    house.broker = MemoryBroker({"alerts": 1, "dead-letters": 1})
    house.produce(make_alert("a1"), make_alert("a1"), make_alert("a1"))
    settle_all(house, house.notifier(receiver))
    assert receiver.ids() == ["a1.0"]


def test_what_was_queued_survives_the_process(house: House) -> None:
    receiver = Recorder(house.clock)
    house.produce(make_alert("a1"), make_alert("a2"))
    house.notifier(receiver).step()
    replacement = house.notifier(receiver)
    assert replacement.step() == 0
    replacement.deliver_due()
    assert sorted(receiver.ids()) == ["a1.0", "a2.0"]


class FullLog(MemoryDeliveryLog):
    def __init__(self, room: int) -> None:
        super().__init__()
        self._room = room

    def add(self, delivery: Delivery) -> bool:
        if self._room == 0:
            raise Unavailable("the log does not answer")
        self._room -= 1
        return super().add(delivery)


def test_nothing_is_committed_before_every_alert_is_durably_queued(house: House) -> None:
    house.produce(make_alert("a1"), make_alert("a2"))
    notifier = house.notifier(Recorder(house.clock), log=FullLog(room=1))
    with pytest.raises(Unavailable):
        notifier.step()
    assert house.broker.committed("notifier") == {}


def test_a_slow_endpoint_does_not_hold_up_another(house: House) -> None:
    slow = Recorder(house.clock, lambda _id, _before: DOWN, endpoint="slow")
    good = Recorder(house.clock, endpoint="good")
    house.produce(*(make_alert(f"a{n}") for n in range(5)))
    notifier = house.notifier(slow, good)
    notifier.step()
    notifier.deliver_due()
    assert len(good.sent) == 5
    assert not notifier.idle()


def test_later_revisions_wait_for_earlier_ones_and_other_alerts_do_not(house: House) -> None:
    receiver = Recorder(house.clock, lambda id_, before: DOWN if id_ == "a1.0" and before == 0 else OK)
    house.produce(make_alert("a1"), make_alert("a1", 1), make_alert("b1"))
    settle_all(house, house.notifier(receiver))
    assert receiver.ids() == ["a1.0", "b1.0", "a1.0", "a1.1"]


def test_an_exhausted_delivery_becomes_a_dead_letter_that_can_be_redriven(house: House) -> None:
    healed: list[bool] = []
    receiver = Recorder(house.clock, lambda _id, _before: OK if healed else DOWN)
    house.produce(make_alert("a1"))
    notifier = house.notifier(receiver)
    settle_all(house, notifier)
    (letter,) = house.letters()
    assert letter.reason is Reason.DELIVERY_EXHAUSTED
    assert (letter.topic, letter.offset, letter.value) == ("alerts", 0, "server_error 500 down")
    assert len(receiver.sent) == 3
    assert notifier.idle()
    assert house.metric("dead_letters_total", topic="alerts", reason="delivery_exhausted") == 1
    healed.append(True)
    house.broker.append(letter.topic, letter.key, letter.payload, letter.timestamp_ms)
    settle_all(house, notifier)
    delivered = house.log.get("e1", "a1.0")
    assert delivered is not None
    assert delivered.status is Status.DELIVERED
    assert len(receiver.sent) == 4


def test_410_stops_the_endpoint_and_keeps_what_waits_for_it(house: House) -> None:
    receiver = Recorder(house.clock, lambda _id, _before: Answer(Outcome.GONE, 410))
    house.produce(make_alert("a1"), make_alert("a2"))
    notifier = house.notifier(receiver)
    settle_all(house, notifier)
    house.produce(make_alert("a3"))
    settle_all(house, notifier)
    assert len(receiver.sent) == 1
    assert notifier.waiting() == 3
    assert notifier.idle()
    assert house.letters() == []


def test_429_leaves_the_whole_endpoint_in_peace(house: House) -> None:
    receiver = Recorder(house.clock, lambda _id, _before: Answer(Outcome.THROTTLED, 429, 120.0) if len(receiver.sent) < 2 else OK)
    house.produce(make_alert("a1"), make_alert("a2"))
    settle_all(house, house.notifier(receiver))
    first, *later = [at for _, at in receiver.sent]
    assert len(later) == 2
    assert min(later) - first >= 120_000


def test_a_record_that_is_no_alert_is_a_dead_letter_and_the_next_one_is_sent(house: House) -> None:
    receiver = Recorder(house.clock)
    for value in (b"\xff not json", b"{}", make_alert("a1").to_json().replace(b'"score":6.5', b'"score":"high"')):
        house.broker.append("alerts", None, value, 1_000_000_000_000)
    house.produce(make_alert("a2"))
    settle_all(house, house.notifier(receiver))
    assert [letter.reason for letter in house.letters()] == [Reason.INVALID_JSON, Reason.MISSING_FIELD, Reason.WRONG_TYPE]
    assert house.letters()[2].field == "score"
    assert receiver.ids() == ["a2.0"]
    assert list(house.broker.committed("notifier").values()) == [4]


@pytest.mark.slow
def test_the_threads_deliver_everything_and_end_when_idle(house: House) -> None:
    receivers = [Recorder(house.clock, endpoint=f"e{n}") for n in range(3)]
    house.produce(*(make_alert(f"a{n}", revision) for n in range(20) for revision in range(3)))
    house.notifier(*receivers).run(threading.Event(), until_idle=True, poll_timeout_ms=5)
    for receiver in receivers:
        assert sorted(receiver.ids()) == sorted(f"a{n}.{revision}" for n in range(20) for revision in range(3))
        for n in range(20):
            assert [i for i in receiver.ids() if i.startswith(f"a{n}.")] == [f"a{n}.{revision}" for revision in range(3)]


def test_an_error_of_a_sender_ends_the_run(house: House) -> None:
    def refuse(_id: str, _before: int) -> Answer:
        raise ConfigurationError("this cannot go on")

    house.produce(make_alert("a1"))
    with pytest.raises(ConfigurationError, match="cannot go on"):
        house.notifier(Recorder(house.clock, refuse)).run(threading.Event(), poll_timeout_ms=5)


def test_a_stop_ends_the_run_while_something_waits(house: House) -> None:
    stop = threading.Event()

    def answer(_id: str, _before: int) -> Answer:
        stop.set()
        return DOWN

    house.produce(make_alert("a1"))
    house.notifier(Recorder(house.clock, answer)).run(stop, poll_timeout_ms=5)
    assert house.log.waiting("e1") == 1


def test_a_notifier_that_no_longer_reads_is_not_ready(house: House) -> None:
    house.produce(make_alert("a1"))
    notifier = house.notifier(Recorder(house.clock, lambda _id, _before: DOWN))
    notifier.step()
    assert notifier.readiness() == (True, "1 alerts wait for an endpoint")
    house.clock.now_ms += 61_000
    assert not notifier.readiness().ready
    notifier.step()
    assert notifier.readiness().ready


class FlakyLog(MemoryDeliveryLog):
    """Does not answer one call in five."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = 0
        self._random = Random(3)

    def _maybe(self) -> None:
        if self._random.random() < 0.2:
            self.failures += 1
            raise Unavailable("the log does not answer")

    def add(self, delivery: Delivery) -> bool:
        self._maybe()
        return super().add(delivery)

    def claim(self, endpoint: str, now_ms: int, lease_ms: int) -> Delivery | None:
        self._maybe()
        return super().claim(endpoint, now_ms, lease_ms)

    def store(self, delivery: Delivery, now_ms: int, hold: bool = False, members: Sequence[Delivery] = ()) -> None:
        self._maybe()
        super().store(delivery, now_ms, hold, members)


def test_a_log_that_fails_now_and_then_loses_and_doubles_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.jobs.notify.notifier.RETRY_S", 0.001)
    monkeypatch.setattr("pipeline.jobs.notify.sender.RETRY_S", 0.001)
    receiver, flaky = Recorder(house.clock), FlakyLog()
    house.produce(*(make_alert(f"a{n}") for n in range(10)))
    house.notifier(receiver, log=flaky).run(threading.Event(), until_idle=True, poll_timeout_ms=5)
    assert sorted(receiver.ids()) == sorted(f"a{n}.0" for n in range(10))
    assert flaky.failures > 3
    assert list(house.broker.committed("notifier").values()) == [10]
