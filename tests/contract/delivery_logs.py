"""What the suites of the delivery log share."""

from pipeline.adapters.delivery_log import DeliveryLog
from pipeline.core.delivery import Answer, Delivery, Outcome, RetryPolicy
from tests.alerts import make_alert, make_delivery

POLICY = RetryPolicy(schedule_s=(5.0,), max_retry_after_s=60.0)
LEASE_MS = 30_000
OK = Answer(Outcome.DELIVERED, 200)
FAILED = Answer(Outcome.SERVER_ERROR, 500)


def queued(log: DeliveryLog, alert_id: str, revision: int = 0, due_ms: int = 1_000, endpoint: str = "e1") -> Delivery:
    delivery = make_delivery(make_alert(alert_id, revision), endpoint, next_attempt_ms=due_ms)
    assert log.add(delivery)
    return delivery
