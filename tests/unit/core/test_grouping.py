import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.bodies import MAX_BODY_BYTES, body
from pipeline.core.delivery import Answer, Delivery, Outcome, RetryPolicy, Status, settle
from pipeline.core.grouping import (
    MAX_ALERTS,
    Grouping,
    fitting,
    flush_ms,
    group_of,
    is_urgent,
    may_join,
    settled_with,
    webhook_body,
    webhook_id,
)
from pipeline.events import AlertGroup, AlertStatus, Evidence, Severity
from tests.alerts import START_MS, make_alert, make_delivery, make_market_alert

GROUPING = Grouping(by=("rule",), wait_ms=30_000, interval_ms=300_000)
POLICY = RetryPolicy(schedule_s=(5.0,), max_retry_after_s=60.0)
NOW_MS = 10_000_000
GROUP = '{"rule":"negative_spike"}'


def grouped(name: str, **changes: Any) -> Delivery:
    return make_delivery(make_alert(name, **changes), group=GROUP)


def test_a_group_is_what_its_alerts_share() -> None:
    assert group_of(make_alert(), ("rule",)) == GROUP
    assert group_of(make_alert(entity="夸德汽车"), ("entity", "severity")) == '{"entity":"夸德汽车","severity":"warning"}'
    assert group_of(make_alert(), ()) == "{}"


def test_the_first_waits_and_later_ones_until_the_interval_has_passed() -> None:
    first = flush_ms(None, NOW_MS, GROUPING)
    assert first == NOW_MS + 30_000
    assert flush_ms(first, NOW_MS + 29_999, GROUPING) == first, "it joins"
    second = flush_ms(first, first, GROUPING)
    assert second == first + 300_000
    assert flush_ms(second, second - 1, GROUPING) == second
    assert flush_ms(second, second + 300_000, GROUPING) == second + 330_000, "after a quiet time it is a first one again"


@given(st.lists(st.integers(0, 400_000), min_size=1, max_size=30), st.integers(0, 60_000), st.integers(0, 400_000))
def test_nobody_waits_longer_than_asked_and_webhooks_are_an_interval_apart(
    gaps: list[int], wait_ms: int, interval_ms: int
) -> None:
    grouping, now_ms = Grouping((), wait_ms, interval_ms), NOW_MS
    last: int | None = None
    planned: list[int] = []
    for gap in gaps:
        now_ms += gap
        last = flush_ms(last, now_ms, grouping)
        assert now_ms <= last <= now_ms + max(wait_ms, interval_ms)
        planned.append(last)
    times = sorted(set(planned))
    assert planned == sorted(planned)
    assert all(later - earlier >= interval_ms for earlier, later in zip(times, times[1:], strict=False))


@pytest.mark.parametrize(
    ("status", "severity", "urgent"),
    [
        (AlertStatus.OPENED, Severity.CRITICAL, True),
        (AlertStatus.ESCALATED, Severity.CRITICAL, True),
        (AlertStatus.UPDATED, Severity.CRITICAL, False),
        (AlertStatus.RESOLVED, Severity.CRITICAL, False),
        (AlertStatus.ESCALATED, Severity.WARNING, False),
    ],
)
def test_what_has_just_become_critical_does_not_wait(status: AlertStatus, severity: Severity, urgent: bool) -> None:
    assert is_urgent(make_alert(status=status, severity=severity)) is urgent


def test_what_was_tried_or_sealed_or_is_of_another_group_goes_on_by_itself() -> None:
    leader = grouped("a1")
    assert may_join(leader, grouped("a2"))
    assert not may_join(leader, make_delivery(make_alert("a2"), group="{}"))
    assert not may_join(leader, make_delivery(make_alert("a2")))
    assert not may_join(leader, grouped("a2").model_copy(update={"attempts": 1}))
    assert not may_join(leader, grouped("a2").model_copy(update={"members": ("a3.0",)}))


def test_a_group_of_one_is_an_alert_as_ever() -> None:
    assert webhook_id(["a1.0"]) == "a1.0"
    assert webhook_body([grouped("a1")]) == body(make_alert("a1"))


def test_the_id_is_that_of_the_deliveries_in_any_order() -> None:
    assert webhook_id(["a1.0", "a2.0"]) == webhook_id(["a2.0", "a1.0"])
    assert webhook_id(["a1.0", "a2.0"]) != webhook_id(["a1.0", "a2.1"])
    assert webhook_id(["a1.0", "a2.0"]).startswith("group.")


def test_the_body_lists_the_alerts_by_event_time_and_decodes_by_its_contract() -> None:
    late, early = grouped("a1", event_time_ms=START_MS + 60_000), grouped("b1", event_time_ms=START_MS)
    said = json.loads(webhook_body([late, early]))
    assert (said["type"], said["timestamp"]) == ("alert.group", "2024-01-01T00:01:00.000Z")
    told = AlertGroup.model_validate(said["data"])
    assert (told.version, told.group) == (1, {"rule": "negative_spike"})
    assert [alert.delivery_id for alert in told.alerts] == ["b1.0", "a1.0"]
    assert told.alerts[0] == make_alert("b1", event_time_ms=START_MS), "few alerts are told whole"
    assert webhook_body([early, late]) == webhook_body([late, early])


def test_many_alerts_are_cut_rather_than_left_out() -> None:
    posts = tuple(
        Evidence(event_id=f"p{n}", text="糟" * 400, author_id="u", event_time_ms=START_MS, negative=0.9) for n in range(5)
    )
    deliveries = [grouped(f"a{n}", evidence=posts) for n in range(12)]
    assert list(fitting(deliveries[0], deliveries[1:])) == deliveries[1:]
    encoded = webhook_body(deliveries)
    assert len(encoded) < MAX_BODY_BYTES
    assert len(AlertGroup.model_validate(json.loads(encoded)["data"]).alerts) == 12


@pytest.mark.slow
@given(
    st.integers(1, 150), st.integers(0, 400), st.sampled_from(["x", "糟", '"', "\x01"]), st.integers(0, 40), st.text(max_size=40)
)
def test_what_fits_is_as_much_as_the_bounds_allow(count: int, size: int, letter: str, members: int, group: str) -> None:
    key = json.dumps({"entity": group})
    alert = make_market_alert({f"m{n}": False for n in range(members)}, explanation=letter * size)
    deliveries = [make_delivery(alert.model_copy(update={"alert_id": f"a{n}"}), group=key) for n in range(count)]
    together = [deliveries[0], *fitting(deliveries[0], deliveries[1:])]
    assert len(together) <= MAX_ALERTS
    assert together == deliveries[: len(together)]
    assert len(together) == 1 or len(webhook_body(together)) < MAX_BODY_BYTES
    if len(together) < min(count, MAX_ALERTS):
        assert len(webhook_body(deliveries[: len(together) + 1])) >= MAX_BODY_BYTES - 8


def test_the_members_fare_as_their_leader_does() -> None:
    leader, members = grouped("a1"), [grouped("a2"), grouped("a3")]
    done = settle(leader, Answer(Outcome.DELIVERED, 204), POLICY, NOW_MS)
    assert [(each.status, each.value) for each in settled_with(done, members)] == [(Status.DELIVERED, b"")] * 2
    once = settle(leader, Answer(Outcome.TIMEOUT), POLICY, NOW_MS)
    assert settled_with(once, members) == [], "they wait with it"
    spent = settled_with(settle(once, Answer(Outcome.TIMEOUT), POLICY, NOW_MS), members)
    assert [(each.status, each.attempts, each.value) for each in spent] == [(Status.EXHAUSTED, 2, m.value) for m in members]
