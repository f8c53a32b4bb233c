"""Taking what is due from the delivery log and sending it, one webhook at a time. Several senders may serve one endpoint.

All rules are in ``core.delivery``; time is asked from ``now_ms``.
"""

import threading
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

import structlog

from pipeline.core.delivery import (
    Answer,
    Delivery,
    Outcome,
    Status,
    endpoint_after,
    exhausted_letter,
    settle,
)
from pipeline.core.grouping import settled_with, webhook_body, webhook_id
from pipeline.errors import Unavailable
from pipeline.jobs.notify.desk import Desk
from pipeline.jobs.notify.ends import Ends
from pipeline.jobs.notify.inhibitor import Inhibitor
from pipeline.jobs.notify.packer import Packer

LEASE_MARGIN_MS = 5_000  # beyond the timeout of an attempt, before another sender may take what a dead one had claimed
LONGEST_WAIT_S = 1.0  # another process may have queued something; look again after this long
RETRY_S = 1.0  # between tries at a server that does not answer

log = structlog.get_logger()


class Receiver(Protocol):
    """Where webhooks go: ``adapters.webhook.WebhookReceiver``, or a function in a test."""

    @property
    def endpoint(self) -> str:
        """Return the id under which the delivery log knows it."""

    @property
    def name(self) -> str:
        """Return what people see, without secrets."""

    def send(self, delivery_id: str, body: bytes, now_ms: int) -> Answer:
        """Try once."""


class Sender:
    """Takes what is due for one endpoint and sends it. Several may serve one endpoint at once."""

    def __init__(self, receiver: Receiver, desk: Desk, inhibitor: Inhibitor, ended: threading.Event) -> None:
        self.receiver = receiver
        self._desk = desk
        self._ended = ended
        self._packer = Packer(desk, receiver.endpoint, inhibitor, Ends(desk, receiver.name))

    def step(self) -> bool:
        """Send what is due longest and what goes with it, or hold it back where a silence hides it; say whether it was there."""
        desk, endpoint = self._desk, self.receiver.endpoint
        state, now_ms = desk.log.endpoint(endpoint), desk.now_ms()
        if state.gone or now_ms < state.quiet_until_ms:
            return False
        together = self._packer.take(now_ms)
        if together:
            self._attempt(*together)
        return together is not None

    def drain(self) -> int:
        """Go on until nothing is due; return the number of deliveries taken."""
        taken = 0
        while self.step():
            taken += 1
        return taken

    def idle(self) -> bool:
        """Say whether nothing is left to send, as far as the endpoint lets itself be reached."""
        endpoint = self.receiver.endpoint
        return self._desk.log.waiting(endpoint) == 0 or self._desk.log.endpoint(endpoint).gone

    def wait_s(self) -> float:
        """Return how long nothing can be due, at most ``LONGEST_WAIT_S``."""
        endpoint = self.receiver.endpoint
        due_ms, state = self._desk.log.next_due_ms(endpoint), self._desk.log.endpoint(endpoint)
        if due_ms is None or state.gone:
            return LONGEST_WAIT_S
        return min(LONGEST_WAIT_S, max(0, max(due_ms, state.quiet_until_ms) - self._desk.now_ms()) / 1000)

    def _attempt(self, leader: Delivery, *members: Delivery) -> None:
        desk, sent = self._desk, webhook_body((leader, *members))
        sent_as = webhook_id([each.delivery_id for each in (leader, *members)])
        begun = perf_counter()
        answer = self.receiver.send(sent_as, sent, desk.now_ms())
        desk.metrics.observe("delivery_seconds", perf_counter() - begun)
        desk.metrics.count("deliveries_total", outcome=answer.outcome)
        settled = settle(leader, answer, desk.policy, desk.now_ms())
        self._durably(lambda: self._record(answer, sent, settled, settled_with(settled, members)))
        if answer.outcome is not Outcome.DELIVERED:
            log.warning("delivery_failed", to=self.receiver.name, id=sent_as, answer=str(answer), now=settled.status)
        elif members:
            desk.metrics.count("grouped_total", 1 + len(members))

    def _record(self, answer: Answer, sent: bytes, leader: Delivery, members: Sequence[Delivery]) -> None:
        self._remember_endpoint(answer)
        if leader.status is Status.EXHAUSTED:
            for each in (leader, *members):
                self._desk.letters.write(exhausted_letter(each, self.receiver.name, sent))
        self._desk.log.store(leader, self._desk.now_ms(), members=members)

    def _durably(self, action: Callable[[], None]) -> None:
        """Do something with a server until it answers: what was sent must be known as sent, or it would be sent again."""
        while True:
            try:
                return action()
            except Unavailable as error:
                log.warning("server_unavailable", error=str(error), next_try_s=RETRY_S)
                if self._ended.wait(RETRY_S):
                    raise

    def _remember_endpoint(self, answer: Answer) -> None:
        desk, endpoint = self._desk, self.receiver.endpoint
        state = desk.log.endpoint(endpoint)
        after = endpoint_after(state, answer, desk.policy, desk.now_ms())
        if after != state:
            desk.log.set_endpoint(endpoint, after)
