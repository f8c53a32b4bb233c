import json
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.contract import Contract, check_not_future
from pipeline.errors import InvalidRecord, Reason
from pipeline.events import BehaviorEvent, DeadLetter, ScoredPost, Sentiment, SocialPost

T = 1_388_531_408_000


def post(**overrides: Any) -> bytes:
    fields = {"event_id": "1", "event_time_ms": T, "author_id": "a", "text": "hello"} | overrides
    return json.dumps(fields).encode()


def behaviour(**overrides: Any) -> bytes:
    fields = {"event_id": "1", "event_time_ms": T, "user_id": "u", "action": "click", "item_id": "i"} | overrides
    return json.dumps(fields).encode()


def scored(negative: float, neutral: float, positive: float) -> bytes:
    sentiment = {"negative": negative, "neutral": neutral, "positive": positive}
    return post(entity="X", sentiment=sentiment, simhash="0" * 16, model="m", model_revision="r")


def error_of(value: bytes, contract: type[Contract] = SocialPost) -> str:
    with pytest.raises(ValidationError) as caught:
        contract.model_validate_json(value)
    (error,) = caught.value.errors()
    return f"{'.'.join(map(str, error['loc']))}: {error['msg']}"


@pytest.mark.parametrize("seconds", [1_388_531_408, 0, -1, 946_684_799_999])
def test_times_before_2000_are_refused_with_the_fix(seconds: int) -> None:
    assert "multiply seconds by 1000" in error_of(post(event_time_ms=seconds))


@pytest.mark.parametrize("value", [1_388_531_408, 0, "1388531408000"])
def test_the_age_of_an_account_is_a_time_too(value: object) -> None:
    assert error_of(post(author_created_ms=value)).startswith("author_created_ms:")


def test_microseconds_are_refused_with_the_fix() -> None:
    assert "divide microseconds by 1000" in error_of(post(event_time_ms=T * 1000))


@pytest.mark.parametrize("value", ["1388531408000", 1.5, True, None, [T]])
def test_a_time_of_another_type_is_refused(value: object) -> None:
    assert error_of(post(event_time_ms=value)).startswith("event_time_ms:")


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_a_post_without_text_is_refused(text: str) -> None:
    assert "is empty" in error_of(post(text=text))


def test_a_lone_surrogate_is_not_json() -> None:
    assert "Invalid JSON" in error_of(b'{"event_id":"1","event_time_ms":1388531408000,"author_id":"a","text":"\\ud800"}')


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
def test_numbers_that_are_none_are_refused(number: bytes) -> None:
    value = behaviour(value=0).replace(b'"value": 0', b'"value": ' + number)
    assert error_of(value, BehaviorEvent).startswith("value:")


@pytest.mark.parametrize("classes", [(0.9, 0.9, 0.9), (0.0, 0.0, 0.0), (0.5, 0.0, 0.4), (0.7, 0.1, 0.23)])
def test_what_is_no_distribution_is_refused_with_its_sum(classes: tuple[float, float, float]) -> None:
    error = error_of(scored(*classes), ScoredPost)
    assert error.startswith("sentiment: ")
    assert f"sum to {sum(classes):.4g};" in error


@pytest.mark.parametrize("classes", [(0.33, 0.33, 0.33), (1.0, 0.0, 0.0), (0.3334, 0.3334, 0.3334), (0.01, 0.5, 0.49)])
def test_a_rounded_distribution_is_one(classes: tuple[float, float, float]) -> None:
    expected = Sentiment(negative=classes[0], neutral=classes[1], positive=classes[2])
    assert ScoredPost.model_validate_json(scored(*classes)).sentiment == expected


def test_unknown_fields_are_kept_out() -> None:
    assert b"colour" not in SocialPost.model_validate_json(post(colour="red")).to_json()


def test_a_blank_item_text_is_none() -> None:
    assert BehaviorEvent.model_validate_json(behaviour(item_text="  ")).item_text is None


def test_an_unknown_action_names_the_known_ones() -> None:
    assert "'purchase'" in error_of(behaviour(action="buy"), BehaviorEvent)


def test_the_future_is_refused_beyond_the_tolerance() -> None:
    check_not_future(T + 300_000, now_ms=T)
    with pytest.raises(InvalidRecord) as caught:
        check_not_future(T + 300_001, now_ms=T)
    assert caught.value.reason is Reason.TIME_OUT_OF_RANGE
    assert caught.value.value == str(T + 300_001)
    assert "more than 5 minutes in the future" in caught.value.fix
    check_not_future(T + 300_001, now_ms=T + 1)  # told again later it is no longer the future


@pytest.mark.parametrize("payload", [b"\xff\x00\x80", b"", bytes(range(256))])
def test_a_dead_letter_keeps_the_original_bytes(payload: bytes) -> None:
    letter = DeadLetter(
        reason=Reason.INVALID_JSON, field="", value="", fix="send JSON", topic="posts", partition=0, offset=1,
        first_seen_ms=T, timestamp_ms=T, key=payload, payload=payload,
    )  # fmt: skip
    again = DeadLetter.model_validate_json(letter.to_json())
    assert (again.payload, again.key) == (payload, payload)
