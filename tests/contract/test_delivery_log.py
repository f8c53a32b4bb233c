"""One suite for both delivery logs: queues, claims and what became of them."""

import threading

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.adapters.delivery_log import DeliveryLog
from pipeline.adapters.redis_delivery_log import RedisDeliveryLog
from pipeline.core.delivery import EndpointState, Status, settle
from pipeline.errors import Unavailable
from tests.alerts import make_delivery
from tests.contract.delivery_logs import FAILED, LEASE_MS, OK, POLICY, queued


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
