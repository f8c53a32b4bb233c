"""The delivery log: what is to be sent to whom, and what was. It is the notifier's queue, so a kill loses nothing.

Per endpoint a delivery is known by its id. Each alert has a lane in which only the lowest unfinished revision can be
claimed; a claim hides the alert for a while (``lease_ms``), so two senders, or a sender and the one that replaces it after a
kill, do not send the same thing at the same time. The rules about ids and attempts are ``core.delivery``'s; one contract
suite runs over the memory log and over Redis.

Redis holds, below the key prefix, ``delivery:<endpoint>:<id>`` (the delivery as JSON, kept for good: it is what
prevents a second send), ``delivery-due:<endpoint>`` (alerts by the time of their next attempt),
``delivery-lane:<endpoint>:<alert>`` (ids by revision) and ``delivery-endpoint:<endpoint>``.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Protocol

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from pipeline.core.delivery import Delivery, EndpointState, Status, admit
from pipeline.errors import Unavailable


class DeliveryLog(Protocol):
    """Durable deliveries of all endpoints. Every call is safe from several threads; raises Unavailable when it cannot answer."""

    def add(self, delivery: Delivery) -> bool:
        """Queue the delivery if its id is to be sent (``core.delivery.admit``); say whether it was queued."""

    def claim(self, endpoint: str, now_ms: int, lease_ms: int) -> Delivery | None:
        """Return the pending delivery that is due longest and hide its alert until ``now_ms + lease_ms``; None if none is due."""

    def store(self, delivery: Delivery, now_ms: int) -> None:
        """Record what an attempt made of a claimed delivery; a finished one makes room for the alert's next revision.

        A delivery that another sender has finished meanwhile stays finished.
        """

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

    def add(self, delivery: Delivery) -> bool:
        """See ``DeliveryLog.add``."""
        with self._lock:
            if not admit(self._known.get((delivery.endpoint, delivery.delivery_id)), delivery):
                return False
            self._known[delivery.endpoint, delivery.delivery_id] = delivery
            lane = (delivery.endpoint, delivery.alert_id)
            self._lanes[lane] = sorted({*self._lanes.get(lane, []), (delivery.revision, delivery.delivery_id)})
            self._due.setdefault(lane, delivery.next_attempt_ms)
            return True

    def claim(self, endpoint: str, now_ms: int, lease_ms: int) -> Delivery | None:
        """See ``DeliveryLog.claim``."""
        with self._lock:
            due = min(((due, lane) for lane, due in self._due.items() if lane[0] == endpoint and due <= now_ms), default=None)
            if due is None:
                return None
            self._due[due[1]] = now_ms + lease_ms
            return self._known[endpoint, self._lanes[due[1]][0][1]]

    def store(self, delivery: Delivery, now_ms: int) -> None:
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


# KEYS: delivery, due, lane. ARGV: expected JSON ("" for none), new JSON, revision, delivery id, alert id, next attempt.
# A compare-and-set: the decision was taken in Python on what stood there, and holds only while it still stands there.
_ADD = """
local known = redis.call('GET', KEYS[1]) or ''
if known ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[4])
redis.call('ZADD', KEYS[2], 'NX', ARGV[6], ARGV[5])
return 1
"""
# KEYS: due. ARGV: now, hidden until, prefix of lanes, prefix of deliveries.
_CLAIM = """
local alert = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, 1)[1]
if not alert then return false end
redis.call('ZADD', KEYS[1], ARGV[2], alert)
return redis.call('GET', ARGV[4] .. redis.call('ZRANGE', ARGV[3] .. alert, 0, 0)[1])
"""
# KEYS: delivery, due, lane. ARGV: new JSON, delivery id, alert id, time of the lane's next attempt, whether it is finished.
_STORE = """
if not redis.call('ZSCORE', KEYS[3], ARGV[2]) then return end
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[5] == '1' then redis.call('ZREM', KEYS[3], ARGV[2]) end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
else
  redis.call('ZREM', KEYS[2], ARGV[3])
end
"""


class RedisDeliveryLog:
    """The durable log, shared by all notifiers of one key prefix. See ``DeliveryLog``."""

    def __init__(self, client: Any, key_prefix: str) -> None:
        self._redis = client
        self._prefix = key_prefix
        self._add = client.register_script(_ADD)
        self._claim = client.register_script(_CLAIM)
        self._store = client.register_script(_STORE)

    @classmethod
    def connect(cls, url: str, key_prefix: str) -> "RedisDeliveryLog":
        """Return the log at a Redis address; a command is tried again for about ten seconds before it raises Unavailable."""
        retry = Retry(ExponentialBackoff(cap=2.0, base=0.1), 8)
        client = redis.Redis.from_url(url, retry=retry, socket_timeout=5.0, socket_connect_timeout=5.0)
        return cls(client, key_prefix)

    def close(self) -> None:
        """Let the connections go."""
        self._redis.close()

    def add(self, delivery: Delivery) -> bool:
        """See ``DeliveryLog.add``."""
        keys = self._keys(delivery)
        entry = (delivery.to_json(), delivery.revision, delivery.delivery_id, delivery.alert_id, delivery.next_attempt_ms)
        with _answering():
            while True:
                stored = self._redis.get(keys[0])
                if not admit(_decode(stored), delivery):
                    return False
                if self._add(keys, [stored or b"", *entry]):
                    return True

    def claim(self, endpoint: str, now_ms: int, lease_ms: int) -> Delivery | None:
        """See ``DeliveryLog.claim``."""
        args = [now_ms, now_ms + lease_ms, self._key("delivery-lane", endpoint, ""), self._key("delivery", endpoint, "")]
        with _answering():
            return _decode(self._claim([self._key("delivery-due", endpoint)], args))

    def store(self, delivery: Delivery, now_ms: int) -> None:
        """See ``DeliveryLog.store``."""
        pending = delivery.status is Status.PENDING
        due_ms = delivery.next_attempt_ms if pending else now_ms
        args = [delivery.to_json(), delivery.delivery_id, delivery.alert_id, due_ms, int(not pending)]
        with _answering():
            self._store(self._keys(delivery), args)

    def get(self, endpoint: str, delivery_id: str) -> Delivery | None:
        """See ``DeliveryLog.get``."""
        with _answering():
            return _decode(self._redis.get(self._key("delivery", endpoint, delivery_id)))

    def next_due_ms(self, endpoint: str) -> int | None:
        """See ``DeliveryLog.next_due_ms``."""
        with _answering():
            first = self._redis.zrange(self._key("delivery-due", endpoint), 0, 0, withscores=True)
        return int(first[0][1]) if first else None

    def waiting(self, endpoint: str) -> int:
        """See ``DeliveryLog.waiting``."""
        with _answering():
            return int(self._redis.zcard(self._key("delivery-due", endpoint)))

    def endpoint(self, endpoint: str) -> EndpointState:
        """See ``DeliveryLog.endpoint``."""
        with _answering():
            stored = self._redis.get(self._key("delivery-endpoint", endpoint))
        return EndpointState() if stored is None else EndpointState(**json.loads(stored))

    def set_endpoint(self, endpoint: str, state: EndpointState) -> None:
        """See ``DeliveryLog.set_endpoint``."""
        with _answering():
            self._redis.set(self._key("delivery-endpoint", endpoint), json.dumps(asdict(state)))

    def _keys(self, delivery: Delivery) -> list[str]:
        endpoint = delivery.endpoint
        lane = self._key("delivery-lane", endpoint, delivery.alert_id)
        return [self._key("delivery", endpoint, delivery.delivery_id), self._key("delivery-due", endpoint), lane]

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)


@contextmanager
def _answering() -> Iterator[None]:
    """Turn the client's errors about the connection into Unavailable."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unavailable(f"Redis does not answer, the delivery log stands still: {error}") from error


def _decode(stored: bytes | None) -> Delivery | None:
    return None if stored is None else Delivery.model_validate_json(stored)
