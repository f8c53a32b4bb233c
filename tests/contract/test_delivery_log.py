"""One suite for both delivery logs."""

import threading
from collections.abc import Iterator
from contextlib import closing
from time import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.adapters.delivery_log import DeliveryLog, MemoryDeliveryLog
from pipeline.adapters.redis_delivery_log import SILENCE_KEPT_MS, RedisDeliveryLog
from pipeline.core.delivery import Answer, Delivery, EndpointState, Outcome, RetryPolicy, Status, released, settle
from pipeline.core.inhibition import word_after
from pipeline.core.silences import Silence, make_silence
from pipeline.errors import Unavailable
from pipeline.events import LATEST_MS
from tests.alerts import make_alert, make_delivery, make_market_alert

POLICY = RetryPolicy(schedule_s=(5.0,), max_retry_after_s=60.0)
LEASE_MS = 30_000
OK = Answer(Outcome.DELIVERED, 200)
FAILED = Answer(Outcome.SERVER_ERROR, 500)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def delivery_log(request: pytest.FixtureRequest) -> Iterator[DeliveryLog]:
    if request.param == "memory":
        yield MemoryDeliveryLog()
        return
    log = RedisDeliveryLog.connect(request.getfixturevalue("redis_url"), request.getfixturevalue("key_prefix"))
    yield log
    log.close()


def queued(log: DeliveryLog, alert_id: str, revision: int = 0, due_ms: int = 1_000, endpoint: str = "e1") -> Delivery:
    delivery = make_delivery(make_alert(alert_id, revision), endpoint, next_attempt_ms=due_ms)
    assert log.add(delivery)
    return delivery


def test_an_empty_log_has_nothing_due(delivery_log: DeliveryLog) -> None:
    assert delivery_log.claim("e1", 10**15, LEASE_MS) is None
    assert delivery_log.next_due_ms("e1") is None
    assert delivery_log.waiting("e1") == 0
    assert delivery_log.get("e1", "a1.0") is None
    assert delivery_log.endpoint("e1") == EndpointState()


def test_what_is_added_comes_back_whole_when_it_is_due(delivery_log: DeliveryLog) -> None:
    delivery = queued(delivery_log, "a1", due_ms=2_000)
    assert delivery_log.next_due_ms("e1") == 2_000
    assert delivery_log.claim("e1", 1_999, LEASE_MS) is None
    assert delivery_log.claim("e1", 2_000, LEASE_MS) == delivery
    assert delivery_log.get("e1", "a1.0") == delivery


def test_an_id_is_queued_once_and_never_after_success(delivery_log: DeliveryLog) -> None:
    delivery = queued(delivery_log, "a1")
    assert not delivery_log.add(delivery)
    delivery_log.store(settle(delivery, OK, POLICY, 1_000), 1_000)
    assert not delivery_log.add(make_delivery(offset=99))
    assert delivery_log.waiting("e1") == 0
    assert delivery_log.claim("e1", 10**15, LEASE_MS) is None


def test_a_claim_hides_the_alert_until_the_lease_ends(delivery_log: DeliveryLog) -> None:
    delivery = queued(delivery_log, "a1")
    queued(delivery_log, "a1", revision=1)
    assert delivery_log.claim("e1", 1_000, LEASE_MS) == delivery
    assert delivery_log.claim("e1", 1_000 + LEASE_MS - 1, LEASE_MS) is None
    assert delivery_log.claim("e1", 1_000 + LEASE_MS, LEASE_MS) == delivery
    assert delivery_log.waiting("e1") == 1


def test_revisions_of_an_alert_go_in_order_whatever_order_they_came_in(delivery_log: DeliveryLog) -> None:
    for revision in (10, 2, 1):
        queued(delivery_log, "a1", revision)
    order = []
    while (delivery := delivery_log.claim("e1", 5_000, LEASE_MS)) is not None:
        order.append(delivery.revision)
        delivery_log.store(settle(delivery, OK, POLICY, 5_000), 5_000)
    assert order == [1, 2, 10]


def test_a_failed_attempt_holds_back_later_revisions_but_no_other_alert(delivery_log: DeliveryLog) -> None:
    first = queued(delivery_log, "a1")
    queued(delivery_log, "a1", revision=1)
    assert delivery_log.claim("e1", 1_000, LEASE_MS) == first
    failed = settle(first, FAILED, POLICY, 1_000)
    delivery_log.store(failed, 1_000)
    other = queued(delivery_log, "a2", due_ms=1_500)
    assert delivery_log.claim("e1", 2_000, LEASE_MS) == other
    assert delivery_log.claim("e1", 2_000, LEASE_MS) is None
    assert delivery_log.claim("e1", failed.next_attempt_ms, LEASE_MS) == failed


def test_an_exhausted_delivery_makes_room_and_can_be_produced_again(delivery_log: DeliveryLog) -> None:
    first = queued(delivery_log, "a1")
    second = queued(delivery_log, "a1", revision=1)
    delivery_log.store(first.model_copy(update={"status": Status.EXHAUSTED}), 1_000)
    assert delivery_log.claim("e1", 1_000, LEASE_MS) == second
    assert not delivery_log.add(first)
    again = first.model_copy(update={"offset": 7})
    assert delivery_log.add(again)
    assert delivery_log.get("e1", "a1.0") == again


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


def test_endpoints_are_apart(delivery_log: DeliveryLog) -> None:
    queued(delivery_log, "a1")
    other = queued(delivery_log, "a1", endpoint="e2")
    delivery_log.store(settle(other, OK, POLICY, 1_000), 1_000)
    delivery_log.set_endpoint("e2", EndpointState(quiet_until_ms=77, gone=True))
    assert (delivery_log.waiting("e1"), delivery_log.waiting("e2")) == (1, 0)
    assert delivery_log.endpoint("e1") == EndpointState()
    assert delivery_log.endpoint("e2") == EndpointState(quiet_until_ms=77, gone=True)


def test_who_comes_late_does_not_undo_what_another_finished(delivery_log: DeliveryLog) -> None:
    delivery = queued(delivery_log, "a1")
    done = settle(delivery, OK, POLICY, 1_000)
    delivery_log.store(done, 1_000)
    delivery_log.store(settle(delivery, FAILED, POLICY, 1_000), 1_000)
    assert delivery_log.get("e1", "a1.0") == done
    assert delivery_log.claim("e1", 10**15, LEASE_MS) is None
    assert delivery_log.waiting("e1") == 0


def test_what_is_due_longest_goes_first(delivery_log: DeliveryLog) -> None:
    for alert_id, due_ms in (("a1", 3_000), ("a2", 1_000), ("a3", 2_000)):
        queued(delivery_log, alert_id, due_ms=due_ms)
    claimed = [delivery_log.claim("e1", 5_000, LEASE_MS) for _ in range(3)]
    assert [delivery.alert_id for delivery in claimed if delivery] == ["a2", "a3", "a1"]


def test_senders_that_claim_at_once_get_different_deliveries(delivery_log: DeliveryLog) -> None:
    for number in range(60):
        queued(delivery_log, f"a{number}")
    claimed: list[str] = []

    def claim_all() -> None:
        while (delivery := delivery_log.claim("e1", 1_000, LEASE_MS)) is not None:
            claimed.append(delivery.delivery_id)

    threads = [threading.Thread(target=claim_all) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(f"a{number}.0" for number in range(60))


@pytest.mark.integration
def test_the_redis_log_outlives_its_process(redis_url: str, key_prefix: str) -> None:
    first = RedisDeliveryLog.connect(redis_url, key_prefix)
    delivery = queued(first, "a1")
    first.claim("e1", 1_000, LEASE_MS)
    first.close()
    second = RedisDeliveryLog.connect(redis_url, key_prefix)
    assert second.claim("e1", 1_000 + LEASE_MS, LEASE_MS) == delivery
    second.close()


@pytest.mark.integration
def test_a_redis_that_is_away_is_unavailable(unused_port: int) -> None:
    log = RedisDeliveryLog(redis.Redis(port=unused_port, retry=Retry(NoBackoff(), 0)), "x:")
    with pytest.raises(Unavailable, match="Redis does not answer"):
        log.claim("e1", 0, 1)
    log.close()
