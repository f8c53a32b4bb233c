"""Groups through the notifier: what goes together, when, and that kills, silences and failures lose and double nothing."""

import json
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.adapters.delivery_log import MemoryDeliveryLog
from pipeline.core.delivery import Answer, Delivery, Outcome, Status
from pipeline.core.grouping import Grouping, webhook_id
from pipeline.core.silences import make_silence
from pipeline.events import Alert, AlertReason, AlertStatus, Severity
from pipeline.jobs.notify.notifier import Notifier
from tests.alerts import make_alert, make_market_alert
from tests.unit.jobs.notify.house import DOWN, OK, House, Recorder

GROUPING = Grouping(by=("rule",), wait_ms=30_000, interval_ms=300_000)
CRITICAL = {"severity": Severity.CRITICAL, "status": AlertStatus.ESCALATED, "reason": AlertReason.SEVERITY_ROSE}
RESOLVED: dict[str, Any] = {"status": AlertStatus.RESOLVED, "reason": AlertReason.QUIET}
SECOND_MS = 1_000


class Killed(BaseException):
    """The process is gone."""


class Exchange:
    """A house with a notifier that groups by rule, whose webhooks are remembered as lists of delivery ids."""

    def __init__(self, **answers: Any) -> None:
        self.house = House()
        self.receiver = Recorder(self.house.clock, **answers)
        self.notifier = self.start()

    def start(self, grouping: Grouping | None = GROUPING, market_holds_ms: int = 0) -> Notifier:
        self.notifier = self.house.notifier(self.receiver, grouping=grouping, market_holds_ms=market_holds_ms)
        return self.notifier

    def say(self, *alerts: Alert, pass_ms: int = 0) -> list[list[str]]:
        """Let alerts come, then time pass, a second at a time; return what was sent, webhook by webhook."""
        before = len(self.receiver.sent)
        self.house.produce(*alerts)
        for _ in range(1 + pass_ms // SECOND_MS):
            self.notifier.step()
            self.notifier.deliver_due()
            self.house.clock.now_ms += SECOND_MS
        return [self.told(sent_as) for sent_as, _ in self.receiver.sent[before:]]

    def told(self, sent_as: str) -> list[str]:
        (body,) = self.receiver.bodies[sent_as]
        data = json.loads(body)["data"]
        return sorted(f"{each['alert_id']}.{each['revision']}" for each in data.get("alerts", [data]))

    def status(self, delivery_id: str) -> Status | None:
        known = self.house.log.get("e1", delivery_id)
        return None if known is None else known.status


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


def crash(count: int) -> list[Alert]:
    return [make_alert(f"a{n:02}", entity=f"E{n}") for n in range(count)]


def test_what_comes_within_the_wait_is_one_webhook(exchange: Exchange) -> None:
    assert exchange.say(*crash(6), pass_ms=10_000) == []
    assert exchange.notifier.waiting() == 6
    (told,) = exchange.say(*crash(8)[6:], pass_ms=30_000)
    assert told == [f"a{n:02}.0" for n in range(8)]
    assert exchange.receiver.ids() == [webhook_id(told)]
    assert exchange.notifier.idle()
    assert {exchange.status(name) for name in told} == {Status.DELIVERED}
    assert exchange.house.metric("deliveries_total", outcome="delivered") == 1
    assert exchange.house.metric("grouped_total") == 8


class Contested(MemoryDeliveryLog):
    """Lets another sender claim, if it can, before a group is gathered."""

    def __init__(self) -> None:
        super().__init__()
        self._claims = 0
        self._claimed = threading.Condition()

    def claim(self, endpoint: str, now_ms: int, lease_ms: int) -> Delivery | None:
        with self._claimed:
            self._claims += 1
            self._claimed.notify_all()
        return super().claim(endpoint, now_ms, lease_ms)

    def waiting_heads(self, endpoint: str, limit: int) -> Sequence[Delivery]:
        with self._claimed:
            self._claimed.wait_for(lambda: self._claims > 1, timeout=0.2)
        return super().waiting_heads(endpoint, limit)


@pytest.mark.slow
def test_senders_do_not_tear_a_group_apart(exchange: Exchange) -> None:
    exchange.house.log = Contested()
    exchange.start()
    exchange.house.produce(*crash(12))
    exchange.notifier.step()
    exchange.house.clock.now_ms += 30_000
    exchange.notifier.run(threading.Event(), until_idle=True, poll_timeout_ms=5)
    assert [exchange.told(sent_as) for sent_as in exchange.receiver.ids()] == [[f"a{n:02}.0" for n in range(12)]]


def test_a_crash_of_forty_is_a_few_webhooks_of_less_than_20_kb(exchange: Exchange) -> None:
    told = exchange.say(*crash(40), pass_ms=40_000)
    assert len(told) <= 3
    assert sorted(name for names in told for name in names) == [f"a{n:02}.0" for n in range(40)]
    assert all(len(body) < 20_000 for bodies in exchange.receiver.bodies.values() for body in bodies)


def test_other_groups_go_by_themselves_and_one_alone_goes_as_ever(exchange: Exchange) -> None:
    coordinated = make_alert("c1", rule="coordinated_activity")
    told = exchange.say(*crash(2), coordinated, pass_ms=40_000)
    assert sorted(told) == [["a00.0", "a01.0"], ["c1.0"]]
    assert "c1.0" in exchange.receiver.ids()


def test_later_alerts_of_a_group_wait_for_the_interval(exchange: Exchange) -> None:
    assert exchange.say(make_alert("a1"), pass_ms=40_000) == [["a1.0"]]
    assert exchange.say(make_alert("a1", 1), make_alert("a2"), pass_ms=240_000) == []
    assert exchange.say(pass_ms=60_000) == [["a1.1", "a2.0"]]


def test_what_becomes_critical_does_not_wait_and_takes_the_waiting_along_in_order(exchange: Exchange) -> None:
    exchange.say(make_alert("a1"), pass_ms=40_000)
    assert exchange.say(make_alert("a1", 1), make_alert("a2"), pass_ms=10_000) == []
    assert exchange.say(make_alert("a1", 2, **CRITICAL)) == [["a1.1", "a2.0"], ["a1.2"]]


MARKET = {"E0": False, "E1": False}


def test_what_waits_is_held_back_when_its_market_speaks_and_released_after_it(exchange: Exchange) -> None:
    exchange.start(market_holds_ms=86_400_000)
    exchange.say(*crash(3), pass_ms=5_000)
    told = exchange.say(make_market_alert(MARKET), pass_ms=40_000)
    assert sorted(told) == [["a02.0"], ["m1.0"]]
    assert [exchange.status(f"a0{n}.0") for n in (0, 1)] == [Status.INHIBITED] * 2
    assert exchange.house.metric("inhibited_total", reason="market_wide") == 2
    told = exchange.say(make_market_alert(MARKET, 1, **RESOLVED), pass_ms=400_000)
    assert sorted(told) == [["a00.0", "a01.0"], ["m1.1"]]


def test_what_was_told_goes_on_although_its_market_speaks_and_what_ended_meanwhile_does_not(exchange: Exchange) -> None:
    exchange.start(market_holds_ms=86_400_000)
    exchange.say(make_alert("a0", entity="E0"), pass_ms=40_000)
    told = exchange.say(
        make_alert("a0", 1, entity="E0"), make_alert("a1", entity="E1"), make_alert("a1", 1, entity="E1", **RESOLVED)
    )
    assert told == []
    told = exchange.say(make_market_alert(MARKET), pass_ms=400_000)
    assert sorted(told) == [["a0.1"], ["m1.0"]]
    assert exchange.say(make_market_alert(MARKET, 1, **RESOLVED), pass_ms=400_000) == [["m1.1"]]
    assert exchange.house.metric("released_total") == 0
    assert (exchange.status("a1.0"), exchange.status("a1.1")) == (Status.INHIBITED, Status.INHIBITED)


def test_a_retry_is_the_same_webhook_and_is_not_hastened() -> None:
    exchange = Exchange(answer=lambda _id, before: DOWN if before == 0 else OK)
    assert exchange.say(*crash(3), pass_ms=31_000) == [["a00.0", "a01.0", "a02.0"]]
    assert exchange.say(make_alert("a01", 1, **CRITICAL)) == [], "its first step is on its way"
    told = exchange.say(pass_ms=20_000)
    assert told[0] == ["a00.0", "a01.0", "a02.0"]
    assert ["a01.1"] in told[1:]
    assert len(set(exchange.receiver.ids()[:2])) == 1


def test_a_spent_group_is_a_dead_letter_for_each_alert_which_can_be_redriven() -> None:
    healed: list[bool] = []
    exchange = Exchange(answer=lambda _id, _before: OK if healed else DOWN)
    exchange.say(*crash(2), pass_ms=200_000)
    letters = exchange.house.letters()
    assert [Alert.model_validate_json(letter.payload).delivery_id for letter in letters] == ["a00.0", "a01.0"]
    assert exchange.notifier.idle()
    healed.append(True)
    for letter in letters:
        exchange.house.broker.append(letter.topic, letter.key, letter.payload, letter.timestamp_ms)
    assert exchange.say(pass_ms=400_000) == [["a00.0", "a01.0"]]


def silenced(exchange: Exchange, entity: str, lasts_ms: int = 10_000_000) -> None:
    now_ms = exchange.house.clock.now_ms
    exchange.house.log.set_silence(make_silence([f"entity={entity}"], "wei", "call", (now_ms, now_ms + lasts_ms), now_ms))


def test_a_silence_counts_for_what_waits_in_a_group(exchange: Exchange) -> None:
    exchange.say(*crash(3))
    silenced(exchange, "E1")
    assert exchange.say(pass_ms=40_000) == [["a00.0", "a02.0"]]
    assert exchange.status("a01.0") is Status.SILENCED


@pytest.mark.parametrize("entity", ["E0", "E1"])
def test_a_silence_counts_for_a_group_that_is_tried_again(entity: str) -> None:
    downs = [DOWN]
    exchange = Exchange(answer=lambda _id, _before: downs.pop() if downs else OK)
    exchange.say(*crash(3), pass_ms=31_000)
    silenced(exchange, entity, lasts_ms=60_000)
    told = exchange.say(pass_ms=20_000)
    assert sorted(name for names in told for name in names) == sorted({"a00.0", "a01.0", "a02.0"} - {f"a0{entity[1]}.0"})
    assert exchange.say(pass_ms=60_000) == [[f"a0{entity[1]}.0"]]


def test_what_a_silence_lets_go_comes_together(exchange: Exchange) -> None:
    silenced(exchange, "*", lasts_ms=60_000)
    assert exchange.say(*crash(4), pass_ms=59_000) == []
    assert exchange.say(pass_ms=5_000) == [[f"a{n:02}.0" for n in range(4)]]


def test_410_keeps_the_group_for_later() -> None:
    exchange = Exchange(answer=lambda _id, _before: Answer(Outcome.GONE, 410))
    exchange.say(*crash(3), pass_ms=100_000)
    assert (len(exchange.receiver.sent), exchange.notifier.waiting(), exchange.notifier.idle()) == (1, 3, True)


def test_turned_off_what_was_sealed_goes_as_it_was_and_the_rest_alone() -> None:
    exchange = Exchange(answer=lambda _id, before: DOWN if before == 0 else OK)
    exchange.say(*crash(2), pass_ms=31_000)
    exchange.start(grouping=None)
    told = exchange.say(make_alert("b1"), make_alert("b2"), pass_ms=100_000)
    assert sorted(map(tuple, told)) == [("a00.0", "a01.0"), *[("b1.0",)] * 2, *[("b2.0",)] * 2]


class Rough:
    """An exchange whose receiver, as planned, fails or kills the notifier before or after it has taken a webhook.

    ``arrived``: what a receiver has that drops the webhook ids which it has seen.
    """

    def __init__(self, grouping: Grouping) -> None:
        self.plan: list[str] = []
        self.arrived: dict[str, list[str]] = {}
        self.produced = Counter[int]()
        self._grouping = grouping
        self._failures = Counter[str]()
        self.exchange = Exchange(answer=self._answer)
        self.exchange.start(grouping)

    def _answer(self, sent_as: str, _before: int) -> Answer:
        planned = self.plan.pop(0) if self.plan else "take"
        if planned == "fail" and self._failures[sent_as] < 2:  # a third failure would spend it
            self._failures[sent_as] += 1
            return DOWN
        if planned != "die":
            self.arrived.setdefault(sent_as, self.exchange.told(sent_as))
        if planned in ("die", "take and die"):
            raise Killed
        return OK

    def alert(self, number: int) -> None:
        self.exchange.house.produce(make_alert(f"a{number}", self.produced[number], entity=f"E{number}"))
        self.produced[number] += 1

    def pass_time(self, seconds: int) -> None:
        try:
            self.exchange.say()
        except Killed:
            self.exchange.start(self._grouping)
        self.exchange.house.clock.now_ms += seconds * SECOND_MS

    def settle(self) -> None:
        self.pass_time(0)
        while not self.exchange.notifier.idle():
            self.pass_time(40)

    def expected(self, number: int) -> list[str]:
        return [f"a{number}.{revision}" for revision in range(self.produced[number])]


ALERT = st.tuples(st.just("alert"), st.integers(0, 5))
PASS = st.tuples(st.just("pass"), st.integers(1, 90))
TROUBLE = st.tuples(st.sampled_from(["fail", "die", "take and die"]), st.just(0))


@pytest.mark.slow
@example([("alert", 0), ("take and die", 0), ("pass", 30), ("pass", 1), ("alert", 1)], 0)
@given(st.lists(st.one_of(ALERT, ALERT, PASS, TROUBLE), max_size=40), st.integers(0, 2))
def test_who_drops_a_webhook_id_it_has_seen_gets_each_step_once_and_in_order(steps: list[tuple[str, int]], by: int) -> None:
    rough = Rough(Grouping(("rule", "entity")[:by], wait_ms=30_000, interval_ms=60_000))
    for kind, value in steps:
        if kind == "alert":
            rough.alert(value)
        elif kind == "pass":
            rough.pass_time(value)
        else:
            rough.plan.append(kind)
    rough.settle()
    told = [name for names in rough.arrived.values() for name in names]
    assert rough.exchange.house.letters() == []
    assert len(told) == sum(rough.produced.values())
    for number in rough.produced:
        assert [name for name in told if name.startswith(f"a{number}.")] == rough.expected(number)
