import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.adapters.streams import Record
from pipeline.errors import ConfigurationError, InvalidRecord, Reason
from pipeline.events import BehaviorEvent, DeadLetter, SocialPost
from workers.decoding import Decoded, Event, Rejected, decode, rejected

NOW = 1_700_000_000_000
CONTRACTS: dict[str, type[Event]] = {"posts": SocialPost, "events": BehaviorEvent}
POST = {"event_id": "p1", "author_id": "a1", "text": "hello", "event_time_ms": NOW - 1000}
EVENT = {"event_id": "e1", "user_id": "u1", "action": "view", "event_time_ms": NOW - 1000}


def record(value: bytes, topic: str = "posts", offset: int = 7) -> Record:
    return Record(topic, 3, offset, b"key", value, NOW - 1000)


def decoded_one(value: bytes, topic: str = "posts") -> Decoded | Rejected:
    (answer,) = decode([record(value, topic)], CONTRACTS, NOW)
    return answer


def letter_of(value: bytes, topic: str = "posts") -> DeadLetter:
    answer = decoded_one(value, topic)
    assert isinstance(answer, Rejected)
    return answer.letter


def post(**changes: Any) -> bytes:
    return json.dumps(POST | changes).encode()


def event(**changes: Any) -> bytes:
    return json.dumps(EVENT | changes).encode()


def test_good_records_are_decoded_in_order_and_unknown_fields_kept_out() -> None:
    answers = decode([record(post(mood="great"), offset=1), record(event(), "events", offset=2)], CONTRACTS, NOW)
    assert [type(a.event) for a in answers if isinstance(a, Decoded)] == [SocialPost, BehaviorEvent]
    assert "mood" not in json.loads(answers[0].event.to_json())  # type: ignore[union-attr]


def test_a_dead_letter_keeps_coordinates_and_the_original_bytes() -> None:
    letter = letter_of(b"\xff\x00not json")
    assert (letter.topic, letter.partition, letter.offset, letter.key) == ("posts", 3, 7, b"key")
    assert (letter.first_seen_ms, letter.timestamp_ms, letter.payload) == (NOW, NOW - 1000, b"\xff\x00not json")
    assert DeadLetter.model_validate_json(letter.to_json()) == letter


@pytest.mark.parametrize(
    ("value", "topic", "reason", "field", "fix"),
    [
        (b"", "posts", Reason.INVALID_JSON, "record", "empty"),
        (b"  ", "posts", Reason.INVALID_JSON, "record", "empty"),
        (b"hello", "posts", Reason.INVALID_JSON, "record", "one JSON object"),
        (b'{"event_id": "x"', "posts", Reason.INVALID_JSON, "record", "one JSON object"),
        (b"\xff\xfe\x00\x01", "posts", Reason.INVALID_JSON, "record", "UTF-8"),
        (b'{"text": "\\ud800"}', "posts", Reason.INVALID_JSON, "record", "lone surrogates"),
        (b'{"text": "a\x01"}', "posts", Reason.INVALID_JSON, "record", "control character"),
        (b"[" * 5000, "posts", Reason.INVALID_JSON, "record", "recursion"),
        (post() + b"," + post(), "posts", Reason.INVALID_JSON, "record", "trailing"),
        (b"[1]", "posts", Reason.WRONG_TYPE, "record", "one JSON object"),
        (b"null", "posts", Reason.WRONG_TYPE, "record", "one JSON object"),
        (b"{}", "posts", Reason.MISSING_FIELD, "event_time_ms", "add the field 'event_time_ms'"),
        (post(author_id=5), "posts", Reason.WRONG_TYPE, "author_id", "JSON string"),
        (post(author_id=""), "posts", Reason.INVALID_VALUE, "author_id", "at least one character"),
        (post(entities="AAPL"), "posts", Reason.WRONG_TYPE, "entities", "JSON array"),
        (post(entities=["AAPL", 1]), "posts", Reason.WRONG_TYPE, "entities.1", "JSON string"),
        (post(entities=["AAPL"] * 1_001), "posts", Reason.TOO_LARGE, "entities", "at most 1000 of them"),
        (post(followers=-1), "posts", Reason.INVALID_VALUE, "followers", "greater than or equal to 0"),
        (post(followers="many"), "posts", Reason.WRONG_TYPE, "followers", "JSON integer"),
        (post(event_time_ms=str(NOW)), "posts", Reason.WRONG_TYPE, "event_time_ms", "without quotes"),
        (post(event_time_ms=NOW / 7), "posts", Reason.WRONG_TYPE, "event_time_ms", "epoch milliseconds"),
        (post(event_time_ms=NOW // 1000), "posts", Reason.TIME_OUT_OF_RANGE, "event_time_ms", "multiply seconds by 1000"),
        (post(event_time_ms=NOW * 1000), "posts", Reason.TIME_OUT_OF_RANGE, "event_time_ms", "divide microseconds"),
        (post(event_time_ms=-5), "posts", Reason.TIME_OUT_OF_RANGE, "event_time_ms", "2000-01-01"),
        (post(event_time_ms=10**30), "posts", Reason.TIME_OUT_OF_RANGE, "event_time_ms", "2100"),
        (post(event_time_ms=NOW + 300_001), "posts", Reason.TIME_OUT_OF_RANGE, "event_time_ms", "future"),
        (post(text=""), "posts", Reason.EMPTY_TEXT, "text", "needs text"),
        (post(text=" \n\t"), "posts", Reason.EMPTY_TEXT, "text", "needs text"),
        (post(text="x" * 1_000_000), "posts", Reason.TOO_LARGE, "text", "200000 characters"),
        (post(event_id="x" * 513), "posts", Reason.TOO_LARGE, "event_id", "512 characters"),
        (event(action="eat"), "events", Reason.INVALID_VALUE, "action", "'view'"),
        (event(value=float("nan")), "events", Reason.INVALID_VALUE, "value", "finite"),
        (event(value=float("inf")), "events", Reason.INVALID_VALUE, "value", "finite"),
        (event(value="ten"), "events", Reason.WRONG_TYPE, "value", "JSON number"),
        (event(item_id=12), "events", Reason.WRONG_TYPE, "item_id", "JSON string"),
    ],
)
def test_each_kind_of_bad_input_names_field_and_fix(value: bytes, topic: str, reason: Reason, field: str, fix: str) -> None:
    letter = letter_of(value, topic)
    assert (letter.reason, letter.field) == (reason, field)
    assert fix in letter.fix
    assert len(letter.value) <= DeadLetter.MAX_VALUE_CHARS
    assert letter.payload == value


def test_a_list_of_wrong_names_is_refused_at_the_first() -> None:
    """Each error that pydantic finds becomes a dict: half a million of them take seconds on the polling thread."""
    with pytest.raises(ValidationError) as caught:
        SocialPost.model_validate_json(post(entities=[1] * 100_000))
    assert caught.value.error_count() == 1


@pytest.mark.parametrize("text", ["\u200bhidden\u200b", "🚀🚀 to the moon", "a\u0007b", "茅台", "x" * 200_000])
def test_unusual_text_that_can_be_scored_is_kept(text: str) -> None:
    answer = decoded_one(post(text=text))
    assert isinstance(answer, Decoded)
    assert isinstance(answer.event, SocialPost)
    assert answer.event.text == text


def test_an_event_of_a_clock_that_runs_minutes_ahead_is_not_the_future() -> None:
    assert isinstance(decoded_one(post(event_time_ms=NOW + 300_000)), Decoded)


def test_two_broken_records_cannot_swallow_a_good_one_between_them() -> None:
    opening, closing = post()[:-1] + b', "x": [{}', b"{}]}"
    answers = decode([record(v) for v in (opening, post(), closing, post() + b"," + post())], CONTRACTS, NOW)
    assert [isinstance(answer, Decoded) for answer in answers] == [False, True, False, False]


def test_a_topic_without_contract_is_a_mistake_of_the_set_up() -> None:
    with pytest.raises(ConfigurationError, match="'other' has no contract"):
        decode([record(post(), "other")], CONTRACTS, NOW)


def test_a_value_that_cannot_be_encoded_is_replaced() -> None:
    letter = rejected(record(b"x"), InvalidRecord(Reason.INVALID_VALUE, "text", "\ud800" + "x" * 300, "fix"), NOW).letter
    assert DeadLetter.model_validate_json(letter.to_json()).value == "?" + "x" * 199


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(value: bytes) -> None:
    answer = decoded_one(value)
    assert isinstance(answer, Decoded) or answer.letter.fix
