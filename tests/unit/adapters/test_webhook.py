import socket
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from time import time

import pytest
from standardwebhooks import WebhookVerificationError

from pipeline.adapters.webhook import WebhookReceiver
from pipeline.core.bodies import body
from pipeline.core.delivery import Outcome
from pipeline.errors import ConfigurationError
from tests.alerts import make_alert
from tests.receivers import OTHER_SECRET, SECRET, Reply, receiving

BODY = body(make_alert())


def now_ms() -> int:
    return round(time() * 1000)


def send(url: str, secrets: tuple[str, ...] = (SECRET,), timeout_s: float = 5.0) -> tuple[Outcome, int | None, float | None, str]:
    answer = WebhookReceiver(url, secrets, timeout_s).send("a1.0", BODY, now_ms())
    return answer.outcome, answer.status, answer.retry_after_s, answer.excerpt


def test_a_sent_webhook_verifies_and_carries_the_body_unchanged() -> None:
    with receiving() as receiver:
        assert send(receiver.url) == (Outcome.DELIVERED, 200, None, "")
    (seen,) = receiver.seen
    assert seen.body == BODY
    assert seen.headers["webhook-id"] == "a1.0"
    assert seen.headers["content-type"] == "application/json"
    assert abs(int(seen.headers["webhook-timestamp"]) - time()) < 60
    seen.verify()
    with pytest.raises(WebhookVerificationError):
        seen.verify(OTHER_SECRET)


def test_two_secrets_give_two_signatures_so_that_either_side_can_rotate() -> None:
    with receiving() as receiver:
        send(receiver.url, (OTHER_SECRET, SECRET))
    (seen,) = receiver.seen
    assert len(seen.headers["webhook-signature"].split()) == 2
    seen.verify(SECRET)
    seen.verify(OTHER_SECRET)


def test_the_published_vector_of_the_specification_is_met() -> None:
    from standardwebhooks import Webhook

    from pipeline.adapters.webhook import signed_headers

    headers = signed_headers((Webhook(SECRET),), "msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', 1_614_265_330_999)
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(500, body=b"out\n of order"), (Outcome.SERVER_ERROR, 500, None, "out of order")),
        (Reply(429, {"retry-after": "7"}), (Outcome.THROTTLED, 429, 7.0, "")),
        (Reply(410), (Outcome.GONE, 410, None, "")),
        (Reply(404, body=b"x" * 5_000_000), (Outcome.REFUSED, 404, None, "x" * 120)),
        (Reply(503, body=b"\xff\xfe"), (Outcome.THROTTLED, 503, None, "\ufffd\ufffd")),
    ],
)
def test_an_answer_is_read_for_what_it_means(reply: Reply, expected: tuple[object, ...]) -> None:
    with receiving(lambda _id, _before: reply) as receiver:
        assert send(receiver.url) == expected


@pytest.mark.parametrize(("status", "outcome"), [(410, Outcome.GONE), (429, Outcome.THROTTLED), (503, Outcome.THROTTLED)])
@pytest.mark.parametrize("broken", [{"transfer-encoding": "chunked"}, {"content-encoding": "gzip"}])
def test_a_broken_body_takes_nothing_from_its_status(status: int, outcome: Outcome, broken: dict[str, str]) -> None:
    with receiving(lambda _id, _before: Reply(status, {"retry-after": "7"} | broken, b"zz\r\n")) as receiver:
        assert send(receiver.url) == (outcome, status, 7.0, "")


def test_senders_beside_each_other_are_no_reason_to_warn(caplog: pytest.LogCaptureFixture) -> None:
    with receiving(lambda _id, _before: Reply(500, body=b"no")) as receiver, ThreadPoolExecutor(4) as threads:
        endpoint = WebhookReceiver(receiver.url, [SECRET], 20.0)

        def attempt(number: int) -> Outcome:
            return endpoint.send(f"a{number}.0", BODY, now_ms()).outcome

        assert list(threads.map(attempt, range(40))) == [Outcome.SERVER_ERROR] * 40
    assert caplog.messages == []


def test_an_absurd_retry_after_is_no_more_than_its_status() -> None:
    absurd = "Mon, 01 Jan 2024 00:00:00 +" + "9" * 20
    with receiving(lambda _id, _before: Reply(503, {"retry-after": absurd})) as receiver:
        assert send(receiver.url) == (Outcome.THROTTLED, 503, None, "")


def test_what_is_said_of_an_answer_leaves_out_the_path_of_the_address() -> None:
    with receiving(lambda _id, _before: Reply(404, body=b"Cannot POST /hook?token=s3cret")) as receiver:
        assert send(f"{receiver.url}?token=s3cret")[3] == "Cannot POST /…"
        assert send(receiver.url)[3] == "Cannot POST /…?token=s3cret"


def test_a_redirect_is_a_failure_and_is_not_followed() -> None:
    with receiving() as target, receiving(lambda _id, _before: Reply(307, {"location": target.url})) as receiver:
        assert send(receiver.url)[:2] == (Outcome.REDIRECTED, 307)
        assert target.seen == []


def test_silence_ends_with_the_timeout() -> None:
    with receiving(lambda _id, _before: Reply(hang=True)) as receiver:
        assert send(receiver.url, timeout_s=0.2)[0] is Outcome.TIMEOUT


def test_a_broken_connection_and_a_closed_port_are_answers_too() -> None:
    with receiving(lambda _id, _before: Reply(reset=True)) as receiver:
        assert send(receiver.url)[0] is Outcome.CONNECTION_FAILED
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert send(f"http://127.0.0.1:{free.getsockname()[1]}/")[0] is Outcome.CONNECTION_FAILED


NO_SECRETS = [
    "",
    "hunter2",
    "whsec_",
    "whsec_YQ==",
    "whsec_" + "A" * 31,
    "whsec_" + "A" * 31 + "!",
    "whsec_ " + "A" * 32,
    "whsec_" + "é" * 32,
    "whsec_" + "A" * 400,
    SECRET.removeprefix("whsec_"),
]


@pytest.mark.parametrize("secret", NO_SECRETS)
def test_an_unusable_secret_is_named_by_its_endpoint_and_not_shown(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="example.org") as caught:
        WebhookReceiver("https://example.org/", [SECRET, secret], 1.0)
    assert "GROUNDSWELL_NOTIFY__ENDPOINTS" in str(caught.value)
    assert "whsec_ and the base64" in str(caught.value)
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in str(caught.value)


@pytest.mark.parametrize("size", [24, 64])
def test_a_secret_has_24_to_64_bytes(size: int) -> None:
    WebhookReceiver("https://example.org/", ["whsec_" + b64encode(bytes(size)).decode()], 1.0)


def test_equal_addresses_are_one_endpoint_and_its_name_hides_the_path() -> None:
    first = WebhookReceiver("https://example.org/s3cret", [SECRET], 1.0)
    assert first.endpoint == WebhookReceiver("https://example.org/s3cret", [OTHER_SECRET], 1.0).endpoint
    assert first.endpoint != WebhookReceiver("https://example.org/other", [SECRET], 1.0).endpoint
    assert "s3cret" not in first.name
