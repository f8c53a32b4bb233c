"""The delivery log: what is to be sent to whom, and what was. It is the notifier's queue, so a kill loses nothing.

Per endpoint a delivery is known by its id. Each alert has a lane in which only the lowest unfinished revision can be
claimed; a claim hides the alert for a while (``lease_ms``), so two senders, or a sender and the one that replaces it after a
kill, do not send the same thing at the same time. The rules about ids and attempts are ``core.delivery``'s; one contract
suite runs over the memory log and over Redis.

What goes together in one webhook (``core.grouping``) is sealed first: one delivery, the leader, is claimed and stored for all,
the others are hidden until then. So whoever takes over after a kill sends the same webhook.

What is held back (``core.inhibition``, ``core.silences``) is in no lane; the newest held step of each alert is known until it is
released, a later step is queued, or the alert ends unheard.
"""

import math
import threading
from collections.abc import Sequence
from typing import Protocol

from pipeline.core.delivery import Delivery, EndpointState, Status, admit, lane_due_ms, released
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

    def store(self, delivery: Delivery, now_ms: int, hold: bool = False, members: Sequence[Delivery] = ()) -> None:
        """Record what became of a claimed delivery; one that is not pending makes room for the alert's next revision.

        ``hold``: it may be released later, unless a later step waits behind it. ``members``: those that were sealed to it, where
        the same became of them. A delivery that another sender has finished meanwhile stays finished.
        """

    def waiting_heads(self, endpoint: str, limit: int) -> Sequence[Delivery]:
        """Return the next step of each alert that nobody has claimed, at most ``limit``, what is due first before the rest."""

    def seal(self, leader: Delivery, members: Sequence[Delivery]) -> bool:
        """Let members that wait go with a claimed leader from now on, which names them; say whether all still waited."""

    def unseal(self, leader: Delivery, members: Sequence[Delivery], now_ms: int) -> Delivery:
        """Return the leader, still claimed, without its members; these are due now."""

    def flush_ms(self, group: str) -> int | None:
        """Return the latest time for which a group was planned; one of long ago may be forgotten."""

    def set_flush(self, group: str, flush_ms: int) -> None:
        """Remember for when a group is planned."""

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
        """Return the number of alerts with a pending delivery, those on their way included."""

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
        self._leased: dict[tuple[str, str], float] = {}
        self._flushes: dict[str, int] = {}
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
        if lane not in self._leased:
            self._due[lane] = self._due_ms(lane)

    def _due_ms(self, lane: tuple[str, str]) -> int:
        return lane_due_ms([self._known[lane[0], delivery_id] for _, delivery_id in self._lanes[lane]])

    def claim(self, endpoint: str, now_ms: int, lease_ms: int) -> Delivery | None:
        """See ``DeliveryLog.claim``."""
        with self._lock:
            for lane in [lane for lane, until in self._leased.items() if lane[0] == endpoint and until <= now_ms]:
                self._due[lane] = int(self._leased.pop(lane))
            due = min(((due, lane) for lane, due in self._due.items() if lane[0] == endpoint and due <= now_ms), default=None)
            if due is None:
                return None
            del self._due[due[1]]
            self._leased[due[1]] = now_ms + lease_ms
            return self._head(due[1])

    def _head(self, lane: tuple[str, str]) -> Delivery:
        return self._known[lane[0], self._lanes[lane][0][1]]

    def store(self, delivery: Delivery, now_ms: int, hold: bool = False, members: Sequence[Delivery] = ()) -> None:
        """See ``DeliveryLog.store``."""
        with self._lock:
            for each in (delivery, *members):
                if (each.revision, each.delivery_id) in self._lanes.get((each.endpoint, each.alert_id), []):
                    self._store(each, now_ms, hold)

    def _store(self, delivery: Delivery, now_ms: int, hold: bool) -> None:
        lane = (delivery.endpoint, delivery.alert_id)
        self._known[delivery.endpoint, delivery.delivery_id] = delivery
        self._leased.pop(lane, None)
        if delivery.status is not Status.PENDING:
            self._lanes[lane].remove((delivery.revision, delivery.delivery_id))
        if self._lanes[lane]:
            self._due[lane] = max(now_ms, self._due_ms(lane))
            return
        del self._lanes[lane]
        self._due.pop(lane, None)
        if hold:
            self._held[lane] = delivery

    def waiting_heads(self, endpoint: str, limit: int) -> Sequence[Delivery]:
        """See ``DeliveryLog.waiting_heads``."""
        with self._lock:
            lanes = sorted((due, lane) for lane, due in self._due.items() if lane[0] == endpoint)
            return [self._head(lane) for _, lane in lanes[:limit]]

    def seal(self, leader: Delivery, members: Sequence[Delivery]) -> bool:
        """See ``DeliveryLog.seal``."""
        with self._lock:
            unsealed = self._known.get((leader.endpoint, leader.delivery_id))
            lanes = [(member.endpoint, member.alert_id) for member in members]
            waiting = all(lane in self._due and self._head(lane) == each for lane, each in zip(lanes, members, strict=True))
            if unsealed != leader.model_copy(update={"members": None}) or not waiting:
                return False
            self._known[leader.endpoint, leader.delivery_id] = leader
            for lane in lanes:
                del self._due[lane]
                self._leased[lane] = math.inf
            return True

    def unseal(self, leader: Delivery, members: Sequence[Delivery], now_ms: int) -> Delivery:
        """See ``DeliveryLog.unseal``."""
        alone = leader.model_copy(update={"members": None})
        with self._lock:
            if self._known.get((leader.endpoint, leader.delivery_id)) == leader:
                self._known[leader.endpoint, leader.delivery_id] = alone
                for lane in ((member.endpoint, member.alert_id) for member in members):
                    del self._leased[lane]
                    self._due[lane] = now_ms
        return alone

    def flush_ms(self, group: str) -> int | None:
        """See ``DeliveryLog.flush_ms``."""
        with self._lock:
            return self._flushes.get(group)

    def set_flush(self, group: str, flush_ms: int) -> None:
        """See ``DeliveryLog.set_flush``."""
        with self._lock:
            self._flushes[group] = flush_ms

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
            times = [*self._due.items(), *((lane, until) for lane, until in self._leased.items() if until < math.inf)]
            return min((int(at) for lane, at in times if lane[0] == endpoint), default=None)

    def waiting(self, endpoint: str) -> int:
        """See ``DeliveryLog.waiting``."""
        with self._lock:
            return sum(lane[0] == endpoint for lane in self._lanes)

    def endpoint(self, endpoint: str) -> EndpointState:
        """See ``DeliveryLog.endpoint``."""
        with self._lock:
            return self._endpoints.get(endpoint, EndpointState())

    def set_endpoint(self, endpoint: str, state: EndpointState) -> None:
        """See ``DeliveryLog.set_endpoint``."""
        with self._lock:
            self._endpoints[endpoint] = state
