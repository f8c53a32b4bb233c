"""The delivery log in Redis, shared by all notifiers of one key prefix. See ``pipeline.adapters.delivery_log``.

Redis holds, below the key prefix, ``delivery:<endpoint>:<id>`` (the delivery as JSON, kept for good: it is what
prevents a second send), ``delivery-due:<endpoint>`` (alerts by the time of their next attempt),
``delivery-lane:<endpoint>:<alert>`` (ids by revision), ``delivery-held:<endpoint>`` (the id of the newest step of each alert that
is held back), ``delivery-markets`` (the latest word of each market), ``delivery-silences`` (silences as JSON by id, each kept
until a day after its end, so that ``silence list`` can show it) and ``delivery-endpoint:<endpoint>``.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from pipeline.core.delivery import Delivery, EndpointState, Status, admit, released
from pipeline.core.inhibition import MarketWord
from pipeline.core.silences import Silence
from pipeline.errors import Unavailable

SILENCE_KEPT_MS: Final = 86_400_000  # after its end

# KEYS: delivery, due, lane, held. ARGV: expected JSON ("" for none), new JSON, revision, delivery id, alert id, next attempt,
# whether it must still be the newest held step.
# A compare-and-set: the decision was taken in Python on what stood there, and holds only while it still stands there.
_ADD = """
local known = redis.call('GET', KEYS[1]) or ''
if known ~= ARGV[1] then return 0 end
if ARGV[7] == '1' and redis.call('HGET', KEYS[4], ARGV[5]) ~= ARGV[4] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('HDEL', KEYS[4], ARGV[5])
redis.call('ZADD', KEYS[3], ARGV[3], ARGV[4])
redis.call('ZADD', KEYS[2], 'NX', ARGV[6], ARGV[5])
return 1
"""
# KEYS: delivery, held. ARGV: JSON, alert id, delivery id, whether the alert is over.
_HOLD = """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX') then return 0 end
if ARGV[4] == '1' then redis.call('HDEL', KEYS[2], ARGV[2]) else redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
return 1
"""
# KEYS: due. ARGV: now, hidden until, prefix of lanes, prefix of deliveries.
_CLAIM = """
local alert = redis.call('ZRANGE', KEYS[1], '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, 1)[1]
if not alert then return false end
redis.call('ZADD', KEYS[1], ARGV[2], alert)
return redis.call('GET', ARGV[4] .. redis.call('ZRANGE', ARGV[3] .. alert, 0, 0)[1])
"""
# KEYS: delivery, due, lane, held. ARGV: new JSON, delivery id, alert id, time of the lane's next attempt, whether it leaves the
# lane, whether it may be released later.
_STORE = """
if not redis.call('ZSCORE', KEYS[3], ARGV[2]) then return end
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[5] == '1' then redis.call('ZREM', KEYS[3], ARGV[2]) end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('ZADD', KEYS[2], ARGV[4], ARGV[3])
else
  redis.call('ZREM', KEYS[2], ARGV[3])
  if ARGV[6] == '1' then redis.call('HSET', KEYS[4], ARGV[3], ARGV[2]) end
end
"""


class RedisDeliveryLog:
    """The durable log, shared by all notifiers of one key prefix. See ``DeliveryLog``."""

    def __init__(self, client: Any, key_prefix: str) -> None:
        self._redis = client
        self._prefix = key_prefix
        self._add = client.register_script(_ADD)
        self._hold = client.register_script(_HOLD)
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
        with _answering():
            while True:
                stored = self._redis.get(self._keys(delivery)[0])
                if not admit(_decode(stored), delivery):
                    return False
                if self._replace(stored or b"", delivery):
                    return True

    def _replace(self, stored: bytes, delivery: Delivery, held: bool = False) -> bool:
        """Queue the delivery if ``stored`` still stands in its place (``held``: as the newest held step); say whether it did."""
        entry = (delivery.to_json(), delivery.revision, delivery.delivery_id, delivery.alert_id, delivery.next_attempt_ms)
        return bool(self._add(self._keys(delivery), [stored, *entry, int(held)]))

    def hold(self, delivery: Delivery, ended: bool) -> bool:
        """See ``DeliveryLog.hold``."""
        key, *_, held = self._keys(delivery)
        with _answering():
            args = [delivery.to_json(), delivery.alert_id, delivery.delivery_id, int(ended)]
            return bool(self._hold([key, held], args))

    def held(self, endpoint: str) -> Sequence[Delivery]:
        """See ``DeliveryLog.held``."""
        with _answering():
            ids = [name.decode() for name in self._redis.hvals(self._key("delivery-held", endpoint))]
            stored = self._redis.mget([self._key("delivery", endpoint, name) for name in ids]) if ids else []
        return [Delivery.model_validate_json(each) for each in stored]

    def release(self, delivery: Delivery, now_ms: int) -> bool:
        """See ``DeliveryLog.release``."""
        with _answering():
            return self._replace(delivery.to_json(), released(delivery, now_ms), held=True)

    def markets(self) -> Sequence[MarketWord]:
        """See ``DeliveryLog.markets``."""
        with _answering():
            return [MarketWord.model_validate_json(word) for word in self._redis.hvals(self._key("delivery-markets"))]

    def set_market(self, word: MarketWord) -> None:
        """See ``DeliveryLog.set_market``."""
        with _answering():
            self._redis.hset(self._key("delivery-markets"), word.entity, word.to_json())

    def silences(self) -> Sequence[Silence]:
        """See ``DeliveryLog.silences``."""
        with _answering():
            return [Silence.model_validate_json(each) for each in self._redis.hvals(self._key("delivery-silences"))]

    def set_silence(self, silence: Silence) -> None:
        """See ``DeliveryLog.set_silence``."""
        key = self._key("delivery-silences")
        with _answering(), self._redis.pipeline(transaction=True) as both:
            both.hset(key, silence.silence_id, silence.to_json())
            both.hpexpireat(key, silence.ends_at_ms + SILENCE_KEPT_MS, silence.silence_id)
            both.execute()

    def claim(self, endpoint: str, now_ms: int, lease_ms: int) -> Delivery | None:
        """See ``DeliveryLog.claim``."""
        args = [now_ms, now_ms + lease_ms, self._key("delivery-lane", endpoint, ""), self._key("delivery", endpoint, "")]
        with _answering():
            return _decode(self._claim([self._key("delivery-due", endpoint)], args))

    def store(self, delivery: Delivery, now_ms: int, hold: bool = False) -> None:
        """See ``DeliveryLog.store``."""
        pending = delivery.status is Status.PENDING
        due_ms = delivery.next_attempt_ms if pending else now_ms
        args = [delivery.to_json(), delivery.delivery_id, delivery.alert_id, due_ms, int(not pending), int(hold)]
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
        due, held = self._key("delivery-due", endpoint), self._key("delivery-held", endpoint)
        return [self._key("delivery", endpoint, delivery.delivery_id), due, lane, held]

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
