from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.contract import LATEST_MS
from pipeline.core.silences import FIELDS, Matcher, Silence, SilenceState, make_silence, parse_matcher, silenced_by
from pipeline.errors import ConfigurationError
from pipeline.events import Rule, Severity
from tests.alerts import make_alert

NOW_MS = 1_704_100_000_000
HOUR_MS = 3_600_000
SPAN_MS = (NOW_MS, NOW_MS + HOUR_MS)


def silence(*matchers: str, span_ms: tuple[int, int] = SPAN_MS, **changes: Any) -> Silence:
    values = {"author": "wei", "comment": "earnings call"} | changes
    return make_silence(matchers, **values, span_ms=span_ms, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("matcher", "matches"),
    [
        ("entity=ACME", True),
        ("entity=AC*", True),
        ("entity=AC?E", True),
        ("entity=ACM", False),
        ("entity=acme", False),
        ("entity!=BOLT", True),
        ("entity!=A*", False),
        ("severity=warning", True),
        ("severity!=critical", True),
        ("rule=negative_*", True),
        ("rule=market_wide", False),
        ("alert_id=a1", True),
        (" entity = ACME ", True),
    ],
)
def test_a_matcher_is_about_one_field(matcher: str, matches: bool) -> None:
    assert parse_matcher(matcher).matches(make_alert()) is matches


@pytest.mark.parametrize(
    ("matcher", "said"),
    [
        ("entty=ACME", "'entty=ACME': alerts have no field 'entty' to match; use entity, rule, severity or alert_id"),
        ("score=6.5", "no field 'score'"),
        ("ACME", "'ACME': write FIELD=VALUE or FIELD!=VALUE, as in entity=ACME"),
        ("entity=", "write FIELD=VALUE"),
        ("severity=critcal", "no severity is 'critcal'; use info, warning or critical"),
        ("rule!=spike", "no rule is 'spike'; use negative_spike, negative_trend, coordinated_activity or market_wide"),
        ("entity=" + "x" * 513, "'entity=xxxxxxxxxxxxx'… has a value of 513 characters; write at most 512"),
    ],
)
def test_a_matcher_that_can_match_nothing_is_refused_in_one_line(matcher: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^silence matcher .*{said}") as refused:
        parse_matcher(matcher)
    assert "\n" not in str(refused.value)


def test_all_matchers_must_match() -> None:
    both = silence("entity=ACME", "severity!=critical")
    assert both.hides(make_alert(), NOW_MS)
    assert not both.hides(make_alert(severity=Severity.CRITICAL), NOW_MS), "what grows worse is told"
    assert not both.hides(make_alert(entity="BOLT"), NOW_MS)


def test_it_hides_from_its_start_until_before_its_end() -> None:
    later = silence("entity=*", span_ms=(NOW_MS + 10, NOW_MS + 20))
    hidden = {at: later.hides(make_alert(), NOW_MS + at) for at in (0, 9, 10, 19, 20)}
    assert hidden == {0: False, 9: False, 10: True, 19: True, 20: False}
    states = [later.state(NOW_MS + at) for at in (9, 10, 20)]
    assert states == [SilenceState.PENDING, SilenceState.ACTIVE, SilenceState.ENDED]


@pytest.mark.parametrize(
    ("matchers", "changes", "said"),
    [
        ((), {}, "without a matcher would hide everything; write FIELD=VALUE"),
        (("entity=ACME",), {"comment": "  "}, "--comment '  ': write 1 to 512 characters"),
        (("entity=ACME",), {"author": "x" * 513}, "--author"),
        (("entity=ACME",), {"span_ms": (NOW_MS, NOW_MS)}, "end 2024-01-01 09:06:40 UTC, but begins 2024-01-01 09:06:40 UTC"),
        (("entity=ACME",), {"span_ms": (NOW_MS - 2, NOW_MS)}, "which is past .it is 2024-01-01 09:06:40 UTC.; set a later end"),
        (("entity=ACME",), {"span_ms": (NOW_MS, LATEST_MS)}, "before the year 2100"),
        (("entity=ACME", "mood=bad"), {}, "no field 'mood'"),
    ],
)
def test_a_silence_that_makes_no_sense_is_refused_in_one_line(matchers: Any, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as refused:
        silence(*matchers, **changes)
    assert "\n" not in str(refused.value)


def test_the_same_words_give_the_same_silence_and_others_another() -> None:
    assert silence("entity=ACME") == silence("entity=ACME")
    assert silence("entity=ACME").silence_id != silence("entity=BOLT").silence_id


def test_it_says_who_and_why_and_until_when_whatever_they_wrote() -> None:
    said = silence("entity=ACME", comment="call\x1b[2J at ten")
    assert str(said) == f"silence {said.silence_id} until 2024-01-01 10:06 UTC, wei: call\ufffd[2J at ten"


def test_of_several_the_one_that_lasts_longest_is_named() -> None:
    short, long, other = silence("entity=ACME"), silence("rule=*", span_ms=(NOW_MS, NOW_MS + 2 * HOUR_MS)), silence("entity=B*")
    assert silenced_by([short, long, other], make_alert(), NOW_MS) == long
    assert silenced_by([short, long, other], make_alert(), NOW_MS + 3 * HOUR_MS) is None


def test_what_is_ended_early_is_over_and_what_was_over_stays_as_it_was() -> None:
    one = silence("entity=ACME")
    assert one.ended(NOW_MS + 5).state(NOW_MS + 5) is SilenceState.ENDED
    assert one.ended(NOW_MS + 2 * HOUR_MS) == one


@given(st.sampled_from(["entity", "alert_id"]), st.text(min_size=1, max_size=20))
def test_a_value_without_wildcards_matches_itself_alone_and_its_negation_the_rest(field: str, value: str) -> None:
    pattern = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in value)
    alert, longer = (make_alert().model_copy(update={field: name}) for name in (value, value + "x"))
    matcher = Matcher.model_validate({"field": field, "pattern": pattern})
    assert matcher.matches(alert)
    assert not matcher.matches(longer)
    assert not matcher.model_copy(update={"negated": True}).matches(alert)


@given(st.sampled_from(FIELDS), st.booleans(), st.sampled_from(Rule), st.sampled_from(Severity))
def test_what_is_typed_is_what_is_shown(field: str, negated: bool, rule: Rule, severity: Severity) -> None:
    value = {"rule": rule, "severity": severity}.get(field, "A*")
    text = f"{field}{'!=' if negated else '='}{value}"
    assert str(parse_matcher(text)) == text


@given(st.lists(st.sampled_from(["entity=ACME", "severity=info", "rule!=market_wide", "entity=*"]), min_size=1, max_size=4))
def test_another_matcher_never_hides_more(matchers: list[str]) -> None:
    alert = make_alert()
    fewer, more = silence(*matchers[:1]), silence(*matchers)
    assert fewer.hides(alert, NOW_MS) or not more.hides(alert, NOW_MS)
