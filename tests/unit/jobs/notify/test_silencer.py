"""Silences through the notifier: what is not sent, what becomes of it, and that nothing is lost."""

from typing import Any

import pytest

from pipeline.core.delivery import Answer, Outcome, Status
from pipeline.core.silences import Silence, make_silence
from pipeline.events import AlertReason, AlertStatus, Severity
from tests.alerts import make_alert, make_market_alert
from tests.unit.jobs.notify.house import DOWN
from tests.unit.jobs.notify.test_inhibitor import Street

RESOLVED: dict[str, Any] = {"status": AlertStatus.RESOLVED, "reason": AlertReason.QUIET}
LONG_MS = 10_000_000
MINUTE_MS = 60_000


class Quiet(Street):
    """A street whose people silence things."""

    def silence(self, *matchers: str, lasts_ms: int = LONG_MS) -> Silence:
        now_ms = self.clock.now_ms
        made = make_silence(matchers, "wei", "earnings call", (now_ms, now_ms + lasts_ms), now_ms)
        self.house.log.set_silence(made)
        return made

    def end(self, silence: Silence) -> None:
        self.house.log.set_silence(silence.ended(self.clock.now_ms))


@pytest.fixture
def street() -> Quiet:
    return Quiet()


def test_what_matches_is_not_sent_and_the_log_says_why(street: Quiet) -> None:
    silence = street.silence("entity=ACME")
    assert street.say(make_alert("a1"), make_alert("b1", entity="BOLT")) == ["b1.0"]
    held = street.house.log.get("e1", "a1.0")
    assert held is not None
    assert (held.status, held.last_answer) == (Status.SILENCED, str(silence))
    assert held.value == make_alert("a1").to_json(), "nothing of it is lost"
    street.notifier.step()
    assert street.house.metric("silenced_total") == 1
    assert street.house.metric("silenced_alerts") == 1
    assert street.house.metric("inhibited_alerts") == 0
    assert street.notifier.readiness().detail == "0 alerts wait for an endpoint, 1 are silenced"
    assert street.notifier.idle()


@pytest.mark.parametrize("early", [True, False])
def test_after_a_silence_what_is_open_is_sent_with_its_newest_step_alone(street: Quiet, early: bool) -> None:
    silence = street.silence("entity=ACME")
    assert street.say(make_alert("a1"), make_alert("a1", 1)) == []
    if early:
        street.end(silence)
    else:
        street.clock.now_ms += LONG_MS
    assert street.say() == ["a1.1"]
    assert street.house.metric("released_total") == 1
    assert street.say() == []
    assert street.say(make_alert("a1", 2, **RESOLVED)) == ["a1.2"]


def test_the_next_step_after_a_silence_is_sent_in_place_of_the_held_one(street: Quiet) -> None:
    silence = street.silence("entity=ACME")
    street.say(make_alert("a1"))
    street.end(silence)
    assert street.say(make_alert("a1", 1)) == ["a1.1"]
    assert street.say() == []


def test_the_end_of_an_alert_that_was_never_told_is_not_told(street: Quiet) -> None:
    silence = street.silence("entity=ACME")
    street.say(make_alert("a1"))
    assert street.say(make_alert("a1", 1, **RESOLVED)) == []
    street.end(silence)
    assert street.say() == []
    assert street.status("a1.1") is Status.SILENCED


def test_nor_where_it_ends_just_after_the_silence(street: Quiet) -> None:
    silence = street.silence("entity=ACME")
    street.say(make_alert("a1"))
    street.end(silence)
    assert street.say(make_alert("a1", 1, **RESOLVED)) == []
    ended = street.house.log.get("e1", "a1.1")
    assert ended is not None
    assert (ended.status, ended.last_answer) == (Status.SILENCED, "silence: over before it was told")


def test_what_was_told_before_is_brought_to_its_end_after_the_silence(street: Quiet) -> None:
    assert street.say(make_alert("a1")) == ["a1.0"]
    silence = street.silence("entity=ACME")
    assert street.say(make_alert("a1", 1), make_alert("a1", 2, **RESOLVED)) == []
    street.end(silence)
    assert street.say() == ["a1.2"]


def test_what_grows_beyond_the_silence_is_sent_at_once(street: Quiet) -> None:
    critical = {"status": AlertStatus.ESCALATED, "reason": AlertReason.SEVERITY_ROSE, "severity": Severity.CRITICAL}
    silence = street.silence("entity=ACME", "severity!=critical")
    street.say(make_alert("a1"))
    assert street.say(make_alert("a1", 1, **critical)) == ["a1.1"]
    street.end(silence)
    assert street.say() == [], "what was held before it is history"


def test_a_silence_counts_for_what_waits_for_its_next_attempt() -> None:
    street = Quiet(answer=lambda _id, before: DOWN if before == 0 else Answer(Outcome.DELIVERED, 200))
    street.house.produce(make_alert("a1"), make_alert("a1", 1))
    street.notifier.step()
    street.notifier.deliver_due()
    silence = street.silence("entity=ACME", lasts_ms=MINUTE_MS)
    assert street.say() == []
    assert (street.status("a1.0"), street.status("a1.1")) == (Status.SILENCED, Status.SILENCED)
    assert street.notifier.waiting() == 0
    street.clock.now_ms = silence.ends_at_ms
    street.say()
    assert street.receiver.ids()[1:] == ["a1.1"] * 2, "the first step is history; the second fails once too"


def test_a_silence_that_has_not_begun_hides_nothing(street: Quiet) -> None:
    now_ms = street.clock.now_ms
    street.house.log.set_silence(
        make_silence(["entity=ACME"], "wei", "call", (now_ms + LONG_MS, now_ms + 2 * LONG_MS), now_ms=now_ms)
    )
    assert street.say(make_alert("a1")) == ["a1.0"]


def test_a_kill_in_between_changes_nothing(street: Quiet) -> None:
    silence = street.silence("entity=ACME")
    street.say(make_alert("a1"))
    street.start()
    assert street.say(make_alert("a1"), make_alert("a2")) == []
    street.end(silence)
    street.start()
    assert sorted(street.say()) == ["a1.0", "a2.0"]


def test_each_endpoint_is_silenced_and_caught_up_by_itself(street: Quiet) -> None:
    street.say(make_alert("a1"))
    silence = street.silence("entity=ACME")
    late = type(street.receiver)(street.clock, endpoint="late")
    street.notifier = street.house.notifier(street.receiver, late)
    street.say(make_alert("a1", 1), make_alert("a1", 2, **RESOLVED))
    street.end(silence)
    street.say()
    assert (street.receiver.ids(), late.ids()) == (["a1.0", "a1.2"], [])


MARKET = {"ACME": False}


def test_a_market_still_hides_what_a_silence_lets_go(street: Quiet) -> None:
    silence = street.silence("entity=ACME")
    street.say(make_alert("a1"))
    street.say(make_market_alert(MARKET))
    street.end(silence)
    assert street.say(make_alert("a1", 1)) == []
    assert street.status("a1.1") is Status.INHIBITED
    assert sorted(street.say(make_market_alert(MARKET, 1, **RESOLVED))) == ["a1.1", "m1.1"]


def test_a_silence_still_hides_what_a_market_lets_go(street: Quiet) -> None:
    street.say(make_market_alert(MARKET))
    street.say(make_alert("a1"))
    silence = street.silence("entity=ACME")
    assert street.say(make_market_alert(MARKET, 1, **RESOLVED)) == ["m1.1"]
    street.end(silence)
    assert street.say() == ["a1.0"]


def test_who_silences_a_market_knows_of_it_and_is_spared_its_members_too(street: Quiet) -> None:
    silence = street.silence("rule=market_wide")
    assert street.say(make_market_alert(MARKET)) == []
    assert street.say(make_alert("a1"), make_alert("b1", entity="BOLT")) == ["b1.0"]
    street.end(silence)
    assert street.say() == ["m1.0"]
    assert sorted(street.say(make_market_alert(MARKET, 1, **RESOLVED))) == ["a1.0", "m1.1"]
