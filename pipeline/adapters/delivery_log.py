"""The delivery log: what is to be sent to whom, and what was. It is the notifier's queue, so a kill loses nothing.

Per endpoint a delivery is known by its id. Each alert has a lane in which only the lowest unfinished revision can be
claimed; a claim hides the alert for a while (``lease_ms``), so two senders, or a sender and the one that replaces it after a
kill, do not send the same thing at the same time. The rules about ids and attempts are ``core.delivery``'s; one contract
suite runs over the memory log and over Redis.

What is held back (``core.inhibition``, ``core.silences``) is in no lane; the newest held step of each alert is known until it is
released, a later step is queued, or the alert ends unheard.
"""

import threading
from collections.abc import Sequence
from typing import Protocol

from pipeline.core.delivery import Delivery, EndpointState, Status, admit, released
from pipeline.core.inhibition import MarketWord
from pipeline.core.silences import Silence


class DeliveryLog(Protocol):
    """Durable deliveries of all endpoints. Every call is safe from several threads; raises Unavailable when it cannot answer."""

    def add(self, delivery: Delivery) -> bool:
        """Queue the delivery if its id is to be sent (``core.delivery.admit``); say whether it was queued.

        What was held back of its alert is history then.
        """

    def claim(self, endpoint: str, now_ms: int, lease_ms: int) -> Delivery | None:
        """Return the pending delivery that is due longest and hide its alert until ``now_ms + lease_ms``; None if none is due."""

    def store(self, delivery: Delivery, now_ms: int, hold: bool = False) -> None:
        """Record what became of a claimed delivery; one that is not pending makes room for the alert's next revision.

        ``hold``: it may be released later, unless a later step waits behind it. A delivery that another sender has finished
        meanwhile stays finished.
        """

    def hold(self, delivery: Delivery, ended: bool) -> bool:
        """Record a delivery that is held back, if nothing is known of its id; say whether it was recorded.

        ``ended``: with it the alert is over, so nothing of it is to be released.
        """

    def held(self, endpoint: str) -> Sequence[Delivery]:
        """Return the newest held step of each alert that may be released."""

    def release(self, delivery: Delivery, now_ms: int) -> bool:
        """Queue a held delivery, due at once; say whether it was still held."""

    def markets(self) -> Sequence[MarketWord]:
        """Return the latest word of each market."""

    def set_market(self, word: MarketWord) -> None:
        """Remember the latest word of a market."""

    def silences(self) -> Sequence[Silence]:
        """Return all silences that are known; those that ended long ago are forgotten."""

    def set_silence(self, silence: Silence) -> None:
        """Remember a silence, in place of one with its id."""

    def get(self, endpoint: str, delivery_id: str) -> Delivery | None:
        """Return what is known of one id."""

    def next_due_ms(self, endpoint: str) -> int | None:
        """Return when the next claim can succeed, None when nothing is pending."""

    def waiting(self, endpoint: str) -> int:
        """Return the number of alerts with a pending delivery."""

    def endpoint(self, endpoint: str) -> EndpointState:
        """Return what the endpoint asked for."""

    def set_endpoint(self, endpoint: str, state: EndpointState) -> None:
        """Remember what the endpoint asked for."""


class MemoryDeliveryLog:
    """The log of one process that may forget: for the demo, replay and tests. See ``DeliveryLog``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], Delivery] = {}
        self._lanes: dict[tuple[str, str], list[tuple[int, str]]] = {}
        self._due: dict[tuple[str, str], int] = {}
        self._endpoints: dict[str, EndpointState] = {}
        self._held: dict[tuple[str, str], Delivery] = {}
        self._markets: dict[str, MarketWord] = {}
        self._silences: dict[str, Silence] = {}

    def add(self, delivery: Delivery) -> bool:
        """See ``DeliveryLog.add``."""
        with self._lock:
            if not admit(self._known.get((delivery.endpoint, delivery.delivery_id)), delivery):
                return False
            self._queue(delivery)
            return True

    def _queue(self, delivery: Delivery) -> None:
        lane = (delivery.endpoint, delivery.alert_id)
        self._held.pop(lane, None)
        self._known[delivery.endpoint, delivery.delivery_id] = delivery
        self._lanes[lane] = sorted({*self._lanes.get(lane, []), (delivery.revision, delivery.delivery_id)})
        self._due.setdefault(lane, delivery.next_attempt_ms)

    def claim(self, endpoint: str, now_ms: int, lease_ms: int) -> Delivery | None:
        """See ``DeliveryLog.claim``."""
        with self._lock:
            due = min(((due, lane) for lane, due in self._due.items() if lane[0] == endpoint and due <= now_ms), default=None)
            if due is None:
                return None
            self._due[due[1]] = now_ms + lease_ms
            return self._known[endpoint, self._lanes[due[1]][0][1]]

    def store(self, delivery: Delivery, now_ms: int, hold: bool = False) -> None:
        """See ``DeliveryLog.store``."""
        with self._lock:
            lane = (delivery.endpoint, delivery.alert_id)
            if (delivery.revision, delivery.delivery_id) not in self._lanes.get(lane, []):
                return
            self._known[delivery.endpoint, delivery.delivery_id] = delivery
            if delivery.status is Status.PENDING:
                self._due[lane] = delivery.next_attempt_ms
                return
            self._lanes[lane].remove((delivery.revision, delivery.delivery_id))
            self._due[lane] = now_ms
            if not self._lanes[lane]:
                del self._lanes[lane], self._due[lane]
                if hold:
                    self._held[lane] = delivery

    def hold(self, delivery: Delivery, ended: bool) -> bool:
        """See ``DeliveryLog.hold``."""
        with self._lock:
            if (delivery.endpoint, delivery.delivery_id) in self._known:
                return False
            self._known[delivery.endpoint, delivery.delivery_id] = delivery
            self._held.pop((delivery.endpoint, delivery.alert_id), None)
            if not ended:
                self._held[delivery.endpoint, delivery.alert_id] = delivery
            return True

    def held(self, endpoint: str) -> Sequence[Delivery]:
        """See ``DeliveryLog.held``."""
        with self._lock:
            return [delivery for lane, delivery in self._held.items() if lane[0] == endpoint]

    def release(self, delivery: Delivery, now_ms: int) -> bool:
        """See ``DeliveryLog.release``."""
        with self._lock:
            if self._held.get((delivery.endpoint, delivery.alert_id)) != delivery:
                return False
            self._queue(released(delivery, now_ms))
            return True

    def markets(self) -> Sequence[MarketWord]:
        """See ``DeliveryLog.markets``."""
        with self._lock:
            return list(self._markets.values())

    def set_market(self, word: MarketWord) -> None:
        """See ``DeliveryLog.set_market``."""
        with self._lock:
            self._markets[word.entity] = word

    def silences(self) -> Sequence[Silence]:
        """See ``DeliveryLog.silences``."""
        with self._lock:
            return list(self._silences.values())

    def set_silence(self, silence: Silence) -> None:
        """See ``DeliveryLog.set_silence``."""
        with self._lock:
            self._silences[silence.silence_id] = silence

    def get(self, endpoint: str, delivery_id: str) -> Delivery | None:
        """See ``DeliveryLog.get``."""
        with self._lock:
            return self._known.get((endpoint, delivery_id))

    def next_due_ms(self, endpoint: str) -> int | None:
        """See ``DeliveryLog.next_due_ms``."""
        with self._lock:
            return min((due for lane, due in self._due.items() if lane[0] == endpoint), default=None)

    def waiting(self, endpoint: str) -> int:
        """See ``DeliveryLog.waiting``."""
        with self._lock:
            return sum(lane[0] == endpoint for lane in self._due)

    def endpoint(self, endpoint: str) -> EndpointState:
        """See ``DeliveryLog.endpoint``."""
        with self._lock:
            return self._endpoints.get(endpoint, EndpointState())

    def set_endpoint(self, endpoint: str, state: EndpointState) -> None:
        """See ``DeliveryLog.set_endpoint``."""
        with self._lock:
            self._endpoints[endpoint] = state
