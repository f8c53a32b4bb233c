"""One suite for both delivery logs: what is held back, silenced or goes together."""

from contextlib import closing
from time import time

import pytest

from pipeline.adapters.delivery_log import DeliveryLog
from pipeline.adapters.redis_delivery_log import SILENCE_KEPT_MS, RedisDeliveryLog
from pipeline.contract import LATEST_MS
from pipeline.core.delivery import Delivery, Status, released, settle
from pipeline.core.inhibition import word_after
from pipeline.core.silences import Silence, make_silence
from tests.alerts import make_alert, make_delivery, make_market_alert
from tests.contract.delivery_logs import FAILED, LEASE_MS, OK, POLICY, queued


def held_back(log: DeliveryLog, alert_id: str, revision: int = 0, endpoint: str = "e1", ended: bool = False) -> Delivery:
    delivery = make_delivery(make_alert(alert_id, revision), endpoint, status=Status.INHIBITED, last_answer="the market")
    assert log.hold(delivery, ended)
    return delivery


def test_what_is_held_is_not_due_until_it_is_released(delivery_log: DeliveryLog) -> None:
    held = held_back(delivery_log, "a1")
    assert (delivery_log.waiting("e1"), delivery_log.claim("e1", 10**15, LEASE_MS)) == (0, None)
    assert (delivery_log.held("e1"), delivery_log.held("e2")) == ([held], [])
    assert not delivery_log.add(make_delivery(make_alert("a1"), offset=99)), "read again it stays held"
    assert not delivery_log.hold(held, ended=False)
    assert delivery_log.release(held, 5_000)
    assert delivery_log.held("e1") == []
    assert delivery_log.claim("e1", 5_000, LEASE_MS) == released(held, 5_000)
    assert not delivery_log.release(held, 6_000), "only once"


def test_of_several_held_steps_only_the_newest_is_released(delivery_log: DeliveryLog) -> None:
    first, second = (held_back(delivery_log, "a1", revision) for revision in (0, 1))
    assert delivery_log.held("e1") == [second]
    assert not delivery_log.release(first, 5_000)
    assert delivery_log.release(second, 5_000)
    assert delivery_log.get("e1", "a1.0") == first


def test_an_alert_that_ends_while_it_is_held_is_never_released(delivery_log: DeliveryLog) -> None:
    held_back(delivery_log, "a1")
    ended = held_back(delivery_log, "a1", revision=1, ended=True)
    assert delivery_log.held("e1") == []
    assert delivery_log.get("e1", "a1.1") == ended


def test_a_later_step_that_is_queued_makes_the_held_ones_history(delivery_log: DeliveryLog) -> None:
    held = held_back(delivery_log, "a1")
    queued(delivery_log, "a1", revision=1)
    assert delivery_log.held("e1") == []
    assert not delivery_log.release(held, 5_000)


def test_the_latest_word_of_each_market_is_kept(delivery_log: DeliveryLog) -> None:
    assert list(delivery_log.markets()) == []
    first = word_after(None, make_market_alert({"ACME": False}), 1_000)
    second = word_after(first, make_market_alert({"ACME": False, "BOLT": False}, 1), 2_000)
    for word in (first, second):
        assert word is not None
        delivery_log.set_market(word)
    assert list(delivery_log.markets()) == [second]


def silenced(delivery: Delivery) -> Delivery:
    return delivery.model_copy(update={"status": Status.SILENCED, "last_answer": "silence 1"})


def test_what_is_silenced_leaves_its_lane_and_can_be_released(delivery_log: DeliveryLog) -> None:
    held = silenced(queued(delivery_log, "a1"))
    delivery_log.store(held, 1_000, hold=True)
    assert (delivery_log.waiting("e1"), delivery_log.claim("e1", 10**15, LEASE_MS)) == (0, None)
    assert (delivery_log.held("e1"), delivery_log.get("e1", "a1.0")) == ([held], held)
    assert not delivery_log.add(make_delivery(offset=99)), "read again it stays held"
    assert delivery_log.release(held, 5_000)
    assert delivery_log.claim("e1", 5_000, LEASE_MS) == released(held, 5_000)


def test_a_silenced_step_is_history_where_a_later_one_waits_or_where_its_alert_is_over(delivery_log: DeliveryLog) -> None:
    first, second = queued(delivery_log, "a1"), queued(delivery_log, "a1", revision=1)
    delivery_log.store(silenced(first), 2_000, hold=True)
    assert delivery_log.held("e1") == []
    assert delivery_log.claim("e1", 2_000, LEASE_MS) == second
    delivery_log.store(silenced(second), 2_000, hold=False)
    assert (delivery_log.held("e1"), delivery_log.waiting("e1")) == ([], 0)


def test_a_silence_does_not_undo_what_another_sender_finished(delivery_log: DeliveryLog) -> None:
    delivery = queued(delivery_log, "a1")
    done = settle(delivery, OK, POLICY, 1_000)
    delivery_log.store(done, 1_000)
    delivery_log.store(silenced(delivery), 1_000, hold=True)
    assert (delivery_log.get("e1", "a1.0"), delivery_log.held("e1")) == (done, [])


def test_what_is_due_earlier_takes_along_what_waits_before_it_but_hastens_no_retry(delivery_log: DeliveryLog) -> None:
    first, second = queued(delivery_log, "a1", due_ms=9_000), queued(delivery_log, "a1", revision=1, due_ms=2_000)
    assert delivery_log.next_due_ms("e1") == 2_000
    assert delivery_log.claim("e1", 2_000, LEASE_MS) == first
    queued(delivery_log, "a1", revision=2, due_ms=1_000)
    assert delivery_log.claim("e1", 3_000, LEASE_MS) is None, "it is on its way"
    failed = settle(first, FAILED, POLICY, 3_000)
    delivery_log.store(failed, 3_000)
    queued(delivery_log, "a1", revision=3, due_ms=3_000)
    assert delivery_log.next_due_ms("e1") == failed.next_attempt_ms
    assert delivery_log.claim("e1", failed.next_attempt_ms, LEASE_MS) == failed
    delivery_log.store(settle(failed, OK, POLICY, 20_000), 20_000)
    assert delivery_log.claim("e1", 20_000, LEASE_MS) == second


def test_a_later_step_waits_for_its_own_time(delivery_log: DeliveryLog) -> None:
    first, second = queued(delivery_log, "a1"), queued(delivery_log, "a1", revision=1, due_ms=9_000)
    assert delivery_log.claim("e1", 1_000, LEASE_MS) == first
    delivery_log.store(settle(first, OK, POLICY, 1_000), 1_000)
    assert delivery_log.claim("e1", 8_999, LEASE_MS) is None
    assert delivery_log.claim("e1", 9_000, LEASE_MS) == second


def sealed(log: DeliveryLog) -> tuple[Delivery, list[Delivery]]:
    """Return a claimed leader and the two that go with it."""
    leader, *members = (queued(log, name) for name in ("a1", "a2", "a3"))
    assert log.claim("e1", 1_000, LEASE_MS) == leader
    assert list(log.waiting_heads("e1", 10)) == members
    assert [each.alert_id for each in log.waiting_heads("e1", 1)] == ["a2"]
    leader = leader.model_copy(update={"members": tuple(member.delivery_id for member in members)})
    assert log.seal(leader, members)
    return leader, members


def test_what_is_sealed_is_claimed_with_its_leader_alone(delivery_log: DeliveryLog) -> None:
    leader, _ = sealed(delivery_log)
    queued(delivery_log, "a2", revision=1)
    assert delivery_log.waiting_heads("e1", 10) == []
    assert delivery_log.waiting("e1") == 3
    assert delivery_log.next_due_ms("e1") == 1_000 + LEASE_MS
    assert delivery_log.claim("e1", 1_000 + LEASE_MS - 1, LEASE_MS) is None
    assert delivery_log.claim("e1", 10**14, LEASE_MS) == leader, "whoever takes over sends the same"
    assert delivery_log.claim("e1", 10**14, LEASE_MS) is None


def test_a_group_that_arrived_makes_room_for_later_steps_of_all(delivery_log: DeliveryLog) -> None:
    leader, members = sealed(delivery_log)
    later = queued(delivery_log, "a2", revision=1)
    delivered = [settle(each, OK, POLICY, 1_000) for each in members]
    delivery_log.store(settle(leader, OK, POLICY, 1_000), 1_000, members=delivered)
    assert [delivery_log.get("e1", each.delivery_id) for each in members] == delivered
    assert (delivery_log.waiting("e1"), delivery_log.claim("e1", 1_000, LEASE_MS)) == (1, later)


def test_a_group_that_failed_stays_sealed(delivery_log: DeliveryLog) -> None:
    leader, _ = sealed(delivery_log)
    failed = settle(leader, FAILED, POLICY, 1_000)
    delivery_log.store(failed, 1_000)
    assert delivery_log.claim("e1", failed.next_attempt_ms - 1, LEASE_MS) is None
    assert delivery_log.claim("e1", failed.next_attempt_ms, LEASE_MS) == failed
    assert delivery_log.claim("e1", failed.next_attempt_ms, LEASE_MS) is None


def test_what_is_unsealed_waits_again_and_its_leader_stays_claimed(delivery_log: DeliveryLog) -> None:
    leader, members = sealed(delivery_log)
    alone = delivery_log.unseal(leader, members, 2_000)
    assert alone == delivery_log.get("e1", "a1.0") == leader.model_copy(update={"members": None})
    assert [delivery_log.claim("e1", 2_000, LEASE_MS) for _ in range(3)] == [*members, None]
    assert delivery_log.claim("e1", 1_000 + LEASE_MS, LEASE_MS) == alone


@pytest.mark.parametrize("meanwhile", ["claimed", "sent", "sealed"])
def test_nothing_is_sealed_that_another_has_taken(delivery_log: DeliveryLog, meanwhile: str) -> None:
    leader, member, other = (queued(delivery_log, name) for name in ("a1", "a2", "a3"))
    assert delivery_log.claim("e1", 1_000, LEASE_MS) == leader
    if meanwhile == "sealed":
        assert delivery_log.seal(leader.model_copy(update={"members": ("a3.0",)}), [other])
    else:
        assert delivery_log.claim("e1", 1_000, LEASE_MS) == member
    if meanwhile == "sent":
        delivery_log.store(settle(member, OK, POLICY, 1_000), 1_000)
    before = delivery_log.get("e1", "a1.0")
    assert not delivery_log.seal(leader.model_copy(update={"members": ("a2.0",)}), [member])
    assert delivery_log.get("e1", "a1.0") == before


def test_the_time_of_a_group_is_kept(delivery_log: DeliveryLog) -> None:
    assert delivery_log.flush_ms("{}") is None
    delivery_log.set_flush("{}", 1_704_100_000_123)
    delivery_log.set_flush("x", 5)
    assert (delivery_log.flush_ms("{}"), delivery_log.flush_ms("x")) == (1_704_100_000_123, 5)


def silence(comment: str, ends_at_ms: int = LATEST_MS - 1) -> Silence:
    return make_silence(["entity=ACME"], "wei", comment, (1_000, ends_at_ms), now_ms=1_000)


def test_silences_are_kept_and_replaced_by_id(delivery_log: DeliveryLog) -> None:
    assert list(delivery_log.silences()) == []
    one, two = silence("one"), silence("two")
    for each in (one, two, two.ended(now_ms := int(time() * 1000))):
        delivery_log.set_silence(each)
    assert sorted(delivery_log.silences(), key=lambda each: each.comment) == [one, two.ended(now_ms)]


@pytest.mark.integration
def test_redis_forgets_a_silence_a_day_after_its_end(redis_url: str, key_prefix: str) -> None:
    now_ms = int(time() * 1000)
    with closing(RedisDeliveryLog.connect(redis_url, key_prefix)) as log:
        young, old = (silence(name, now_ms - SILENCE_KEPT_MS + ms) for name, ms in (("young", 600_000), ("old", -1_000)))
        log.set_silence(young)
        log.set_silence(old)
        assert log.silences() == [young]
