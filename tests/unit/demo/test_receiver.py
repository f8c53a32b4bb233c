from time import time

import pytest

from pipeline.adapters.webhook import WebhookReceiver
from pipeline.core.bodies import body
from pipeline.core.delivery import Outcome
from pipeline.demo.receiver import LocalReceiver, receiving
from tests.alerts import make_alert
from tests.receivers import OTHER_SECRET, SECRET


def send(receiver: LocalReceiver, secret: str, delivery_id: str = "a1.0") -> Outcome:
    return WebhookReceiver(receiver.url, [secret], 5.0).send(delivery_id, body(make_alert()), int(time() * 1000)).outcome


def test_a_right_signature_is_counted_and_described() -> None:
    with receiving(SECRET) as receiver:
        assert send(receiver, SECRET) is Outcome.DELIVERED
        assert send(receiver, SECRET) is Outcome.DELIVERED
        assert receiver.verified() == 1
        assert [(came.type, came.entity) for came in receiver.received] == [("alert.opened", "ACME")] * 2


def test_a_wrong_signature_is_refused_and_seen() -> None:
    with receiving(SECRET) as receiver:
        assert send(receiver, OTHER_SECRET) is Outcome.REFUSED
        assert receiver.verified() == 0
        assert [came.verified for came in receiver.received] == [False]


@pytest.mark.parametrize(
    "headers",
    [{}, {"webhook-id": "a", "webhook-timestamp": "x", "webhook-signature": "v1,AA=="}, {"webhook-signature": "nonsense"}],
)
def test_headers_that_are_no_signature_are_refused(headers: dict[str, str]) -> None:
    with receiving(SECRET) as receiver:
        assert not receiver.take(b"{}", headers)
