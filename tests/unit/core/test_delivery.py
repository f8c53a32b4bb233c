import json
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.delivery import (
    MAX_BODY_BYTES,
    Answer,
    Delivery,
    EndpointState,
    Outcome,
    RetryPolicy,
    Status,
    admit,
    body,
    classify,
    endpoint_after,
    exhausted_letter,
    parse_retry_after,
    settle,
    wait_s,
)
from pipeline.errors import Reason
from pipeline.events import Alert, DeadLetter, Evidence
from tests.alerts import START_MS, make_alert, make_delivery

POLICY = RetryPolicy(schedule_s=(5.0, 300.0, 1800.0), max_retry_after_s=3600.0)
FAILED = Answer(Outcome.SERVER_ERROR, 500, excerpt="boom")
NOW_MS = 1_000_000


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.DELIVERED),
        (204, Outcome.DELIVERED),
        (301, Outcome.REDIRECTED),
        (304, Outcome.REDIRECTED),
        (400, Outcome.REFUSED),
        (404, Outcome.REFUSED),
        (410, Outcome.GONE),
        (429, Outcome.THROTTLED),
        (500, Outcome.SERVER_ERROR),
        (502, Outcome.THROTTLED),
        (503, Outcome.THROTTLED),
        (504, Outcome.THROTTLED),
    ],
)
def test_only_2xx_is_success(status: int, outcome: Outcome) -> None:
    assert classify(status) is outcome


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("7", 7.0), (" 0 ", 0.0), ("soon", None), ("-3", None), ("1.5", None), ("", None), ("²", None)],
)
def test_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW_MS) == seconds


def test_retry_after_as_a_date_counts_from_now_and_never_backwards() -> None:
    moment = datetime(2024, 1, 1, 12, 0, 30, tzinfo=UTC)
    now_ms = round(datetime(2024, 1, 1, 12, 0, 0, tzinfo=UTC).timestamp() * 1000)
    header = format_datetime(moment, usegmt=True)
    assert parse_retry_after(header, now_ms) == 30.0
    assert parse_retry_after(header, now_ms + 60_000) == 0.0


def test_waits_follow_the_schedule_with_jitter_that_is_the_same_each_time() -> None:
    waits = [wait_s("a.0", failures, FAILED, POLICY) for failures in (1, 2, 3)]
    assert waits == [wait_s("a.0", failures, FAILED, POLICY) for failures in (1, 2, 3)]
    for wait, planned in zip(waits, POLICY.schedule_s, strict=True):
        assert planned <= wait <= 1.1 * planned
    assert len({wait_s(f"a.{n}", 1, FAILED, POLICY) for n in range(20)}) == 20


@pytest.mark.parametrize(("asked", "expected"), [(60.0, 60.0), (10_000.0, 3600.0)])
def test_retry_after_lengthens_the_wait_up_to_the_cap(asked: float, expected: float) -> None:
    assert wait_s("a.0", 1, Answer(Outcome.THROTTLED, 503, asked), POLICY) == expected


def test_a_short_retry_after_does_not_shorten_the_schedule() -> None:
    assert wait_s("a.0", 2, Answer(Outcome.THROTTLED, 503, 1.0), POLICY) >= 300


def test_attempts_end_after_the_schedule() -> None:
    delivery, waits = make_delivery(), []
    while delivery.status is Status.PENDING:
        delivery = settle(delivery, FAILED, POLICY, NOW_MS)
        waits.append(delivery.next_attempt_ms - NOW_MS)
    assert delivery.status is Status.EXHAUSTED
    assert delivery.attempts == len(POLICY.schedule_s) + 1
    assert waits[0] < waits[1] < waits[2]
    assert delivery.last_answer == "server_error 500 boom"
    assert delivery.value == make_alert().to_json()


def test_success_keeps_the_fact_and_drops_the_content() -> None:
    settled = settle(make_delivery(attempts=2), Answer(Outcome.DELIVERED, 200), POLICY, NOW_MS)
    assert (settled.status, settled.attempts, settled.value) == (Status.DELIVERED, 3, b"")


def test_gone_spends_no_attempt_and_shuts_the_endpoint() -> None:
    gone = Answer(Outcome.GONE, 410)
    settled = settle(make_delivery(attempts=3), gone, POLICY, NOW_MS)
    assert (settled.status, settled.attempts) == (Status.PENDING, 0)
    assert endpoint_after(EndpointState(5), gone, POLICY, NOW_MS) == EndpointState(5, gone=True)


def test_429_quiets_the_endpoint_and_503_only_its_delivery() -> None:
    before = EndpointState(quiet_until_ms=NOW_MS + 10_000)
    asked = endpoint_after(before, Answer(Outcome.THROTTLED, 429, 60.0), POLICY, NOW_MS)
    assert asked.quiet_until_ms == NOW_MS + 60_000
    assert endpoint_after(before, Answer(Outcome.THROTTLED, 429, 1.0), POLICY, NOW_MS) == before
    assert endpoint_after(before, Answer(Outcome.THROTTLED, 503, 60.0), POLICY, NOW_MS) == before
    assert endpoint_after(before, Answer(Outcome.THROTTLED, 429, 1e9), POLICY, NOW_MS).quiet_until_ms == NOW_MS + 3_600_000


@pytest.mark.parametrize("status", [Status.PENDING, Status.DELIVERED])
def test_an_id_that_is_known_is_not_queued_again(status: Status) -> None:
    assert not admit(make_delivery(offset=3, status=status), make_delivery(offset=9))


def test_an_exhausted_id_is_queued_again_only_when_it_was_produced_again() -> None:
    spent = make_delivery(offset=3, status=Status.EXHAUSTED)
    assert admit(None, make_delivery(offset=3))
    assert not admit(spent, make_delivery(offset=3))
    assert admit(spent, make_delivery(offset=4))


def test_a_delivery_survives_its_encoding() -> None:
    delivery = make_delivery(key=b"\xff\x00", attempts=4, status=Status.EXHAUSTED, last_answer="timeout")
    assert Delivery.model_validate_json(delivery.to_json()) == delivery


def test_the_body_carries_type_time_and_evidence() -> None:
    sent = json.loads(body(make_alert(revision=1)))
    assert sent["type"] == "alert.updated"
    assert sent["timestamp"] == "2024-01-01T00:15:00.000Z"
    data = sent["data"]
    assert (data["alert_id"], data["revision"], data["observed"], data["score"]) == ("a1", 1, 21.0, 6.5)
    assert data["band"] == {"low": 1.0, "expected": 3.0, "high": 7.0}
    assert data["evidence"][0]["text"] == "ACME recalls 糟糕"
    assert Alert.model_validate(data) == make_alert(revision=1)


@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=0, max_size=60), max_size=9),
    times=st.integers(1, 3000),
    explanation=st.text(st.characters(codec="utf-8"), max_size=3000),
)
def test_the_body_is_small_and_the_same_for_the_same_alert(texts: list[str], times: int, explanation: str) -> None:
    quoted = [
        Evidence(event_id=str(n), text=text * times, author_id="u", event_time_ms=START_MS, negative=1.0)
        for n, text in enumerate(texts)
    ]
    alert = make_alert(evidence=tuple(quoted), explanation=explanation)
    sent = body(alert)
    assert len(sent) < MAX_BODY_BYTES
    assert len(json.loads(sent)["data"]["evidence"]) <= 5
    assert sent == body(Alert.model_validate_json(alert.to_json()))


def test_a_letter_carries_the_record_and_the_last_answer() -> None:
    spent = settle(make_delivery(attempts=3), FAILED, POLICY, NOW_MS)
    letter = exhausted_letter(spent, "example.org (abc)", b"{}")
    assert letter.reason is Reason.DELIVERY_EXHAUSTED
    assert "example.org" in letter.field
    assert letter.value == "server_error 500 boom"
    assert "4 attempts" in letter.fix
    assert Alert.model_validate_json(DeadLetter.model_validate_json(letter.to_json()).payload) == make_alert()
