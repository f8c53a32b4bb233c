"""A market's alert through the notifier: what of its members is held back, and what becomes of it."""

from typing import Any

import pytest

from pipeline.core.delivery import Answer, Outcome, Status
from pipeline.events import Alert, AlertReason, AlertStatus, Severity
from pipeline.jobs.notify.notifier import Notifier
from tests.alerts import START_MS, make_alert, make_market_alert
from tests.unit.jobs.notify.house import DOWN, Clock, House, Recorder, settle_all

MARKET = {"ACME": False, "BOLT": False, "CORP": True}
RESOLVED: dict[str, Any] = {"status": AlertStatus.RESOLVED, "reason": AlertReason.QUIET}


class Street:
    """A house with one receiver and a notifier that holds back members of a market, at most a day."""

    def __init__(self, **answers: Any) -> None:
        self.house = House()
        self.receiver = Recorder(self.house.clock, **answers)
        self.notifier = self.start()

    @property
    def clock(self) -> Clock:
        return self.house.clock

    def start(self, market_holds_ms: int = 86_400_000) -> Notifier:
        self.notifier = self.house.notifier(self.receiver, market_holds_ms=market_holds_ms)
        return self.notifier

    def say(self, *alerts: Alert) -> list[str]:
        """Let the alerts come, in one batch; return the ids that were sent for them."""
        before = len(self.receiver.sent)
        self.house.produce(*alerts)
        settle_all(self.house, self.notifier, steps=3)
        return self.receiver.ids()[before:]

    def status(self, delivery_id: str) -> Status | None:
        known = self.house.log.get("e1", delivery_id)
        return None if known is None else known.status


@pytest.fixture
def street() -> Street:
    return Street()


def test_explained_members_are_held_back_with_a_reason_and_the_others_are_sent(street: Street) -> None:
    assert street.say(make_market_alert(MARKET)) == ["m1.0"]
    assert street.say(make_alert("a1"), make_alert("c1", entity="CORP"), make_alert("d1", entity="DYNE")) == ["c1.0", "d1.0"]
    held = street.house.log.get("e1", "a1.0")
    assert held is not None
    assert (held.status, held.last_answer) == (Status.INHIBITED, "market_wide: explained by market:all m1.0")
    assert street.house.metric("inhibited_total", reason="market_wide") == 1
    assert street.house.metric("inhibited_alerts") == 1
    street.notifier.step()
    assert street.notifier.readiness().detail == "0 alerts wait for an endpoint, 1 are held back by their market's"
    assert street.notifier.idle()


def test_the_market_speaks_first_where_both_come_at_once(street: Street) -> None:
    assert street.say(make_alert("a1"), make_market_alert(MARKET)) == ["m1.0"]


def test_what_is_still_open_is_sent_when_the_market_is_over_and_only_its_newest_step(street: Street) -> None:
    street.say(make_market_alert(MARKET), make_alert("a1"), make_alert("a1", 1), make_alert("b1", entity="BOLT"))
    assert street.say(make_alert("b1", 1, entity="BOLT", **RESOLVED)) == []
    assert sorted(street.say(make_market_alert(MARKET, 1, **RESOLVED))) == ["a1.1", "m1.1"]
    assert street.house.metric("released_total") == 1
    assert [street.status(name) for name in ("a1.0", "b1.0", "b1.1")] == [Status.INHIBITED] * 3
    assert street.say(make_alert("a1", 2, **RESOLVED)) == ["a1.2"]


def test_a_member_that_ends_with_its_market_is_not_told_to_be_over(street: Street) -> None:
    street.say(make_market_alert(MARKET), make_alert("a1"))
    assert street.say(make_market_alert(MARKET, 1, **RESOLVED), make_alert("a1", 1, **RESOLVED)) == ["m1.1"]
    assert street.status("a1.1") is Status.INHIBITED


def test_an_alert_that_was_told_is_told_to_its_end(street: Street) -> None:
    assert street.say(make_alert("a1")) == ["a1.0"]
    street.say(make_market_alert(MARKET))
    assert street.say(make_alert("a1", 1), make_alert("a1", 2, **RESOLVED)) == ["a1.1", "a1.2"]


def test_a_member_that_becomes_worse_than_its_market_is_sent(street: Street) -> None:
    critical = {"status": AlertStatus.ESCALATED, "reason": AlertReason.SEVERITY_ROSE, "severity": Severity.CRITICAL}
    street.say(make_market_alert(MARKET), make_alert("a1"))
    assert street.say(make_alert("a1", 1, **critical)) == ["a1.1"]
    assert street.say(make_market_alert(MARKET, 1, **RESOLVED)) == ["m1.1"], "what was held before it is history"


def test_a_member_that_begins_to_stand_out_is_released(street: Street) -> None:
    street.say(make_market_alert(MARKET), make_alert("a1"))
    assert sorted(street.say(make_market_alert({"ACME": True}, 1))) == ["a1.0", "m1.1"]


def test_a_market_that_falls_silent_holds_nothing_back_for_long(street: Street) -> None:
    street.say(make_market_alert(MARKET), make_alert("a1"))
    street.clock.now_ms += 86_400_000
    assert street.say() == ["a1.0"]


def test_a_kill_in_between_changes_nothing(street: Street) -> None:
    street.say(make_market_alert(MARKET), make_alert("a1"))
    street.start()
    assert street.say(make_alert("b1", entity="BOLT"), make_alert("a1")) == []
    street.start()
    assert sorted(street.say(make_market_alert(MARKET, 1, **RESOLVED))) == ["a1.0", "b1.0", "m1.1"]


def test_turned_off_it_sends_everything_also_what_was_held(street: Street) -> None:
    street.say(make_market_alert(MARKET), make_alert("a1"))
    street.start(market_holds_ms=0)
    assert sorted(street.say(make_alert("b1", entity="BOLT"))) == ["a1.0", "b1.0"]


def test_an_endpoint_that_has_not_heard_of_the_market_hears_of_its_members(street: Street) -> None:
    street.say(make_market_alert(MARKET))
    late = Recorder(street.clock, endpoint="late")
    street.notifier = street.house.notifier(street.receiver, late, market_holds_ms=86_400_000)
    street.say(make_alert("a1"))
    assert (street.receiver.ids(), late.ids()) == (["m1.0"], ["a1.0"])


def test_a_market_that_could_not_be_told_hides_nothing() -> None:
    street = Street(answer=lambda delivery_id, _before: DOWN if delivery_id == "m1.0" else Answer(Outcome.DELIVERED, 200))
    street.house.produce(make_market_alert(MARKET))
    settle_all(street.house, street.notifier)
    assert street.status("m1.0") is Status.EXHAUSTED
    assert street.say(make_alert("a1", event_time_ms=START_MS + 1_800_000)) == ["a1.0"]


def test_what_is_held_is_released_when_its_market_cannot_be_told() -> None:
    street = Street(answer=lambda delivery_id, _before: DOWN if delivery_id == "m1.0" else Answer(Outcome.DELIVERED, 200))
    street.house.produce(make_market_alert(MARKET), make_alert("a1"))
    settle_all(street.house, street.notifier)
    assert (street.status("m1.0"), street.status("a1.0")) == (Status.EXHAUSTED, Status.INHIBITED)
    assert street.say() == ["a1.0"]
