"""Delivery of alerts, decided: what to send, what an answer means, and when to try again.

Pure rules. The notifier owns sockets, clock and log; it asks here what an attempt means. The rules follow Standard
Webhooks 1.0: only 2xx is success, a redirect is a failure, 410 disables the endpoint, Retry-After is honoured, the waits
grow over days and carry jitter. The jitter comes from the delivery's id, so a replayed decision is the same decision.
"""

import hashlib
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, Final

from pydantic import ConfigDict

from pipeline.contract import Contract
from pipeline.errors import Reason
from pipeline.events import DeadLetter

JITTER: Final = 0.1  # a wait is lengthened by up to a tenth, so that deliveries which failed together do not return together
EXCERPT_CHARS: Final = 120


class Outcome(StrEnum):
    """What became of one attempt."""

    DELIVERED = "delivered"
    REDIRECTED = "redirected"
    REFUSED = "refused"
    GONE = "gone"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION_FAILED = "connection_failed"


class Status(StrEnum):
    """Where a delivery stands. What is ``inhibited`` or ``silenced`` is held back and sent, if at all, when it is released."""

    PENDING = "pending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    INHIBITED = "inhibited"
    SILENCED = "silenced"


HELD_BACK: Final = frozenset({Status.INHIBITED, Status.SILENCED})


@dataclass(frozen=True, slots=True)
class Answer:
    """What one attempt brought: ``status`` is None where no HTTP answer came; ``excerpt`` heads the body or the error."""

    outcome: Outcome
    status: int | None = None
    retry_after_s: float | None = None
    excerpt: str = ""

    def __str__(self) -> str:
        """Return one short line for people."""
        return " ".join(str(part) for part in (self.outcome, self.status, self.excerpt) if part not in (None, ""))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """The waits after each failed attempt, in seconds; one attempt more than waits. Retry-After counts up to the cap."""

    schedule_s: tuple[float, ...]
    max_retry_after_s: float


class Delivery(Contract):
    """One alert record on its way to one endpoint, as the delivery log keeps it.

    ``value``, ``key``, ``partition``, ``offset`` and ``timestamp_ms`` are those of the record in the alerts topic; the body is
    made from ``value``, which is dropped once it has arrived. ``next_attempt_ms`` is processing time. ``group``: what it shares
    with those it may go together with (``core.grouping``); ``members``: the ids of the others, if any, once that is sealed.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64", val_json_bytes="base64")

    endpoint: str
    delivery_id: str
    alert_id: str
    revision: int
    key: bytes | None = None  # what is None is not encoded
    value: bytes
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    first_seen_ms: int
    next_attempt_ms: int
    status: Status = Status.PENDING
    attempts: int = 0
    last_answer: str = ""
    group: str | None = None
    members: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What an endpoint asked for: nothing before ``quiet_until_ms``, or nothing at all, ever, because it answered 410."""

    quiet_until_ms: int = 0
    gone: bool = False


def classify(status: int) -> Outcome:
    """Return what an HTTP status means for a delivery."""
    if 200 <= status < 300:
        return Outcome.DELIVERED
    if status == 410:
        return Outcome.GONE
    if status in (429, 502, 503, 504):
        return Outcome.THROTTLED
    if 300 <= status < 400:
        return Outcome.REDIRECTED
    return Outcome.SERVER_ERROR if status >= 500 else Outcome.REFUSED


def parse_retry_after(value: str | None, now_ms: int) -> float | None:
    """Return the seconds that a Retry-After header asks for (a number or an HTTP date), None where it says nothing usable."""
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # a zone or an hour of many digits overflows
        return None
    return max(0.0, moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now_ms / 1000)


def admit(known: Delivery | None, new: Delivery) -> bool:
    """Say whether ``new`` is to be sent, given what the log knows of its id.

    An id that is pending, delivered or held back is left alone, whatever arrives again. An exhausted one is sent anew when its
    record was produced once more (``dlq redrive``: a later offset), not when the old record is merely read again.
    """
    if known is None:
        return True
    return known.status is Status.EXHAUSTED and (new.partition, new.offset) > (known.partition, known.offset)


def released(delivery: Delivery, now_ms: int) -> Delivery:
    """Return a delivery that was held back as one that is due."""
    return delivery.model_copy(update={"status": Status.PENDING, "next_attempt_ms": now_ms, "last_answer": ""})


def lane_due_ms(steps: Sequence[Delivery]) -> int:
    """Return when the first of an alert's pending steps may be sent: by its own time or, if it was never tried, by any step's.

    So what does not wait for its group takes along what waits before it, but hastens no retry.
    """
    return steps[0].next_attempt_ms if steps[0].attempts else min(step.next_attempt_ms for step in steps)


def wait_s(delivery_id: str, failures: int, answer: Answer, policy: RetryPolicy) -> float:
    """Return the wait after the ``failures``-th failed attempt (from 1): the schedule with jitter, or Retry-After if longer."""
    seed = hashlib.sha256(f"{delivery_id}/{failures}".encode()).digest()
    jitter = 1 + JITTER * int.from_bytes(seed[:4], "big") / 2**32
    asked = min(answer.retry_after_s or 0.0, policy.max_retry_after_s)
    return max(policy.schedule_s[failures - 1] * jitter, asked)


def settle(delivery: Delivery, answer: Answer, policy: RetryPolicy, now_ms: int) -> Delivery:
    """Return the delivery after one more attempt: delivered, exhausted, or pending with the time of the next attempt.

    An endpoint that is gone (410) exhausts nothing: the delivery stays pending behind it until a person opens the endpoint
    again.
    """
    attempts = delivery.attempts + 1
    changed: dict[str, Any] = {"attempts": attempts, "last_answer": str(answer)}
    if answer.outcome is Outcome.DELIVERED:
        changed |= {"status": Status.DELIVERED, "value": b""}
    elif answer.outcome is Outcome.GONE:
        changed |= {"attempts": 0, "next_attempt_ms": now_ms}
    elif attempts > len(policy.schedule_s):
        changed["status"] = Status.EXHAUSTED
    else:
        changed["next_attempt_ms"] = now_ms + round(1000 * wait_s(delivery.delivery_id, attempts, answer, policy))
    return delivery.model_copy(update=changed)


def endpoint_after(state: EndpointState, answer: Answer, policy: RetryPolicy, now_ms: int) -> EndpointState:
    """Return what the endpoint's answer means for everything else that waits for it.

    429 speaks about the sender, so the whole endpoint is left in peace for its Retry-After; 502 to 504 speak about one request.
    """
    if answer.outcome is Outcome.GONE:
        return EndpointState(state.quiet_until_ms, gone=True)
    if answer.status != 429 or answer.retry_after_s is None:
        return state
    asked = now_ms + round(1000 * min(answer.retry_after_s, policy.max_retry_after_s))
    return EndpointState(max(state.quiet_until_ms, asked), state.gone)


def end_goes_to(earlier: Set[Status]) -> Status | None:
    """Return what becomes of the end of an alert, given the alert's earlier steps at the endpoint; None: it is sent.

    What was never opened there is not closed. Where steps were given up on, the end shares their fate and can be sent again
    with them; else the endpoint has not heard of the alert, and does not.
    """
    if Status.DELIVERED in earlier:
        return None
    return Status.EXHAUSTED if Status.EXHAUSTED in earlier else Status.INHIBITED


def exhausted_letter(delivery: Delivery, url: str, body_sent: bytes) -> DeadLetter:
    """Return the dead letter of a delivery whose attempts are spent. ``payload`` is the alert record, so it can be redriven."""
    digest = hashlib.sha256(body_sent).hexdigest()[:16]
    return _letter(delivery, url, f"{delivery.attempts} attempts failed (body sha256 {digest}); mend the receiver")


def untold_letter(delivery: Delivery, url: str) -> DeadLetter:
    """Return the dead letter of an end that was not sent, because the steps before it are dead letters."""
    return _letter(delivery, url, "it was not tried, its alert was not opened there; mend the receiver")


def _letter(delivery: Delivery, url: str, fix: str) -> DeadLetter:
    return DeadLetter(
        reason=Reason.DELIVERY_EXHAUSTED,
        field=f"{delivery.delivery_id} -> {url}",
        value=delivery.last_answer[: DeadLetter.MAX_VALUE_CHARS],
        fix=f"{fix}, then `groundswell dlq redrive`",
        topic=delivery.topic,
        partition=delivery.partition,
        offset=delivery.offset,
        first_seen_ms=delivery.first_seen_ms,
        timestamp_ms=delivery.timestamp_ms,
        key=delivery.key,
        payload=delivery.value,
    )
