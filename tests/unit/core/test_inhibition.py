from typing import Any

import pytest

from pipeline.core.inhibition import MarketWord, hides, word_after
from pipeline.events import Alert, AlertReason, AlertStatus, Rule, Severity
from tests.alerts import START_MS, make_alert, make_market_alert

NOW_MS = 5_000_000
HOLD_MS = 86_400_000
RETRACTED = {"status": AlertStatus.RETRACTED, "reason": AlertReason.CORRECTED_BELOW_THRESHOLD}
RESOLVED = {"status": AlertStatus.RESOLVED, "reason": AlertReason.QUIET}


def heard(*alerts: Alert) -> MarketWord:
    word: MarketWord | None = None
    for alert in alerts:
        word = word_after(word, alert, NOW_MS)
    assert word is not None
    return word


def hidden(word: MarketWord, now_ms: int = NOW_MS, **changes: Any) -> bool:
    return hides(word, make_alert(**changes), now_ms, HOLD_MS)


def test_the_moods_of_members_that_the_market_explains_are_hidden() -> None:
    word = heard(make_market_alert({"ACME": False, "BOLT": True}))
    assert hidden(word)
    assert hidden(word, rule=Rule.NEGATIVE_TREND)
    assert not hidden(word, entity="BOLT"), "it stands out beyond the market"
    assert not hidden(word, entity="CORP"), "the market's alert does not name it"
    assert not hidden(word, rule=Rule.COORDINATED_ACTIVITY), "a flood is no mood"


@pytest.mark.parametrize(
    ("market", "member", "is_hidden"),
    [
        (Severity.INFO, Severity.INFO, True),
        (Severity.INFO, Severity.WARNING, False),
        (Severity.WARNING, Severity.CRITICAL, False),
        (Severity.CRITICAL, Severity.CRITICAL, True),
    ],
)
def test_nothing_worse_than_the_market_itself_is_hidden(market: Severity, member: Severity, is_hidden: bool) -> None:
    assert hidden(heard(make_market_alert({"ACME": False}, severity=market)), severity=member) is is_hidden


@pytest.mark.parametrize("end", [RESOLVED, RETRACTED])
def test_a_market_whose_alert_is_over_hides_nothing(end: dict[str, Any]) -> None:
    assert not hidden(heard(make_market_alert({"ACME": False}), make_market_alert({"ACME": False}, 1, **end)))


def test_a_market_long_unheard_hides_nothing() -> None:
    word = heard(make_market_alert({"ACME": False}))
    assert hidden(word, NOW_MS + HOLD_MS - 1)
    assert not hidden(word, NOW_MS + HOLD_MS)


def test_who_was_named_once_stays_explained_until_it_stands_out() -> None:
    opened = make_market_alert({"ACME": False, "BOLT": True})
    calmer = make_market_alert({"BOLT": False}, 1)
    assert heard(opened, calmer).explained == ("ACME", "BOLT")
    assert heard(opened, calmer, make_market_alert({"ACME": True}, 2)).explained == ("BOLT",)


def test_what_is_read_again_changes_nothing() -> None:
    first = make_market_alert({"ACME": False})
    ended = make_market_alert({}, 1, **RESOLVED)
    second = make_market_alert({"BOLT": False}, alert_id="m2", event_time_ms=START_MS + 9_000_000)
    word = heard(first, ended, second)
    assert word.delivery_id == "m2.0"
    assert heard(first, ended, second, first, ended) == word


def test_a_correction_that_retracts_one_and_opens_another_leaves_the_other_open() -> None:
    other = make_market_alert({"BOLT": False}, alert_id="m2")
    word = heard(make_market_alert({"ACME": False}), other, make_market_alert({}, 1, **RETRACTED))
    assert (word.delivery_id, word.is_open, word.explained) == ("m2.0", True, ("BOLT",))


def test_an_alert_of_no_market_says_nothing_about_others() -> None:
    assert word_after(None, make_alert(), NOW_MS) is None
