from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from pipeline.core.delivery import (
    Answer,
    Delivery,
    EndpointState,
    Outcome,
    RetryPolicy,
    Status,
    admit,
    classify,
    endpoint_after,
    exhausted_letter,
    lane_due_ms,
    parse_retry_after,
    settle,
    wait_s,
)
from pipeline.errors import Reason
from pipeline.events import Alert, DeadLetter
from tests.alerts import make_alert, make_delivery

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


@pytest.mark.parametrize("header", ["Mon, 01 Jan 2024 00:00:00 +" + "9" * 20, "Mon, 01 Jan 2024 00:00:" + "9" * 20, "9" * 5000])
def test_a_retry_after_of_absurd_digits_asks_for_nothing_beyond_the_cap(header: str) -> None:
    asked = parse_retry_after(header, NOW_MS)
    assert settle(make_delivery(), Answer(Outcome.THROTTLED, 503, asked), POLICY, NOW_MS).next_attempt_ms <= NOW_MS + 3_600_000


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


def test_a_delivery_without_a_key_survives_its_encoding_too() -> None:
    delivery = make_delivery(key=None)
    assert Delivery.model_validate_json(delivery.to_json()) == delivery


def test_a_letter_carries_the_record_and_the_last_answer() -> None:
    spent = settle(make_delivery(attempts=3), FAILED, POLICY, NOW_MS)
    letter = exhausted_letter(spent, "example.org (abc)", b"{}")
    assert letter.reason is Reason.DELIVERY_EXHAUSTED
    assert "example.org" in letter.field
    assert letter.value == "server_error 500 boom"
    assert "4 attempts" in letter.fix
    assert Alert.model_validate_json(DeadLetter.model_validate_json(letter.to_json()).payload) == make_alert()


def test_what_an_earlier_release_has_queued_is_written_as_it_stands() -> None:
    queued = make_delivery().to_json()
    assert b"group" not in queued
    assert b"members" not in queued, "or compare-and-set would find something else"


def test_a_lane_is_due_when_any_step_is_but_a_retry_by_its_own_time_alone() -> None:
    first, second = make_delivery(next_attempt_ms=9_000), make_delivery(next_attempt_ms=2_000)
    assert lane_due_ms([first]) == 9_000
    assert lane_due_ms([first, second]) == 2_000
    assert lane_due_ms([first.model_copy(update={"attempts": 1}), second]) == 9_000
