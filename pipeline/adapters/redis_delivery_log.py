"""The delivery log in Redis, shared by all notifiers of one key prefix. See ``pipeline.adapters.delivery_log``.

Redis holds, below the key prefix, ``delivery:<endpoint>:<id>`` (the delivery as JSON, kept for good: it is what
prevents a second send), ``delivery-due:<endpoint>`` (alerts by the time of their next attempt), ``delivery-leased:<endpoint>``
(alerts that are on their way, by the end of their lease; those that go with another one's have none),
``delivery-lane:<endpoint>:<alert>`` (ids by revision), ``delivery-held:<endpoint>`` (the id of the newest step of each alert that
is held back), ``delivery-markets`` (the latest word of each market), ``delivery-silences`` (silences as JSON by id, each kept
until a day after its end, so that ``silence list`` can show it), ``delivery-flushes`` (the time for which a group is planned) and
``delivery-endpoint:<endpoint>``.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from pipeline.adapters import redis_delivery_scripts as scripts
from pipeline.adapters.redis_answers import answering, make_client
from pipeline.core.delivery import Delivery, EndpointState, Status, admit, released
from pipeline.core.inhibition import MarketWord
from pipeline.core.silences import Silence
from pipeline.times import DAY_MS

SILENCE_KEPT_MS: Final = DAY_MS  # after its end
WAITS: Final = "the delivery log stands still"
FLUSH_KEPT_S: Final = 2 * 86_400  # longer than any group interval


class RedisDeliveryLog:
    """The durable log, shared by all notifiers of one key prefix. See ``DeliveryLog``."""

    def __init__(self, client: Any, key_prefix: str) -> None:
        self._redis = client
        self._prefix = key_prefix
        self._add = client.register_script(scripts.ADD)
        self._hold = client.register_script(scripts.HOLD)
        self._claim = client.register_script(scripts.CLAIM)
        self._store = client.register_script(scripts.STORE)
        self._seal = client.register_script(scripts.SEAL)
        self._unseal = client.register_script(scripts.UNSEAL)

    @classmethod
    def connect(cls, url: str, key_prefix: str) -> "RedisDeliveryLog":
        """Return the log at a Redis address; a command is tried again for about ten seconds before it raises Unavailable."""
        retry = Retry(ExponentialBackoff(cap=2.0, base=0.1), 8)
        return cls(make_client(url, 5.0, retry=retry), key_prefix)

    def close(self) -> None:
        """Let the connections go."""
        self._redis.close()

    def add(self, delivery: Delivery) -> bool:
        """See ``DeliveryLog.add``."""
        with answering(WAITS):
            while True:
                stored = self._redis.get(self._name(delivery))
                if not admit(_decode(stored), delivery):
                    return False
                if self._replace(stored or b"", delivery):
                    return True

    def _replace(self, stored: bytes, delivery: Delivery, held: bool = False) -> bool:
        """Queue the delivery if ``stored`` still stands in its place (``held``: as the newest held step); say whether it did."""
        endpoint = delivery.endpoint
        keys = [self._name(delivery), *self._queues(endpoint), self._lane(delivery), self._key("delivery-held", endpoint)]
        entry = (delivery.to_json(), delivery.revision, delivery.delivery_id, delivery.alert_id)
        return bool(self._add(keys, [stored, *entry, int(held), self._key("delivery", endpoint, "")]))

    def hold(self, delivery: Delivery, ended: bool) -> bool:
        """See ``DeliveryLog.hold``."""
        keys = [self._name(delivery), self._key("delivery-held", delivery.endpoint)]
        with answering(WAITS):
            args = [delivery.to_json(), delivery.alert_id, delivery.delivery_id, int(ended)]
            return bool(self._hold(keys, args))

    def held(self, endpoint: str) -> Sequence[Delivery]:
        """See ``DeliveryLog.held``."""
        with answering(WAITS):
            ids = [name.decode() for name in self._redis.hvals(self._key("delivery-held", endpoint))]
            return self._all(endpoint, ids)

    def _all(self, endpoint: str, ids: Sequence[str]) -> list[Delivery]:
        stored = self._redis.mget([self._key("delivery", endpoint, each) for each in ids]) if ids else []
        return [Delivery.model_validate_json(each) for each in stored]

    def release(self, delivery: Delivery, now_ms: int) -> bool:
        """See ``DeliveryLog.release``."""
        with answering(WAITS):
            return self._replace(delivery.to_json(), released(delivery, now_ms), held=True)

    def markets(self) -> Sequence[MarketWord]:
        """See ``DeliveryLog.markets``."""
        with answering(WAITS):
            return [MarketWord.model_validate_json(word) for word in self._redis.hvals(self._key("delivery-markets"))]

    def set_market(self, word: MarketWord) -> None:
        """See ``DeliveryLog.set_market``."""
        with answering(WAITS):
            self._redis.hset(self._key("delivery-markets"), word.entity, word.to_json())

    def silences(self) -> Sequence[Silence]:
        """See ``DeliveryLog.silences``."""
        with answering(WAITS):
            return [Silence.model_validate_json(each) for each in self._redis.hvals(self._key("delivery-silences"))]

    def set_silence(self, silence: Silence) -> None:
        """See ``DeliveryLog.set_silence``."""
        key = self._key("delivery-silences")
        with answering(WAITS), self._redis.pipeline(transaction=True) as both:
            both.hset(key, silence.silence_id, silence.to_json())
            both.hpexpireat(key, silence.ends_at_ms + SILENCE_KEPT_MS, silence.silence_id)
            both.execute()

    def claim(self, endpoint: str, now_ms: int, lease_ms: int) -> Delivery | None:
        """See ``DeliveryLog.claim``."""
        args = [now_ms, now_ms + lease_ms, self._key("delivery-lane", endpoint, ""), self._key("delivery", endpoint, "")]
        with answering(WAITS):
            return _decode(self._claim(self._queues(endpoint), args))

    def store(self, delivery: Delivery, now_ms: int, hold: bool = False, members: Sequence[Delivery] = ()) -> None:
        """See ``DeliveryLog.store``."""
        endpoint, all_of_them = delivery.endpoint, (delivery, *members)
        keys = [*self._queues(endpoint), self._key("delivery-held", endpoint)]
        keys += [key for each in all_of_them for key in (self._name(each), self._lane(each))]
        args = [now_ms, int(delivery.status is not Status.PENDING), int(hold), self._key("delivery", endpoint, "")]
        entries = [part for each in all_of_them for part in (each.to_json(), each.delivery_id, each.alert_id)]
        with answering(WAITS):
            self._store(keys, [*args, *entries])

    def waiting_heads(self, endpoint: str, limit: int) -> Sequence[Delivery]:
        """See ``DeliveryLog.waiting_heads``."""
        with answering(WAITS), self._redis.pipeline(transaction=False) as heads:
            for alert in self._redis.zrange(self._queues(endpoint)[0], 0, limit - 1):
                heads.zrange(self._key("delivery-lane", endpoint, alert.decode()), 0, 0)
            ids = [head[0].decode() for head in heads.execute() if head]  # one that was sent meanwhile has no lane any more
            return self._all(endpoint, ids)

    def seal(self, leader: Delivery, members: Sequence[Delivery]) -> bool:
        """See ``DeliveryLog.seal``."""
        endpoint, unsealed = leader.endpoint, leader.model_copy(update={"members": None})
        entries = [part for each in members for part in (each.alert_id, each.delivery_id)]
        args = [unsealed.to_json(), leader.to_json(), self._key("delivery-lane", endpoint, ""), *entries]
        with answering(WAITS):
            return bool(self._seal([*self._queues(endpoint), self._name(leader)], args))

    def unseal(self, leader: Delivery, members: Sequence[Delivery], now_ms: int) -> Delivery:
        """See ``DeliveryLog.unseal``."""
        alone = leader.model_copy(update={"members": None})
        args = [leader.to_json(), alone.to_json(), now_ms, *(each.alert_id for each in members)]
        with answering(WAITS):
            self._unseal([*self._queues(leader.endpoint), self._name(leader)], args)
        return alone

    def flush_ms(self, group: str) -> int | None:
        """See ``DeliveryLog.flush_ms``."""
        with answering(WAITS):
            stored = self._redis.hget(self._key("delivery-flushes"), group)
        return None if stored is None else int(stored)

    def set_flush(self, group: str, flush_ms: int) -> None:
        """See ``DeliveryLog.set_flush``."""
        key = self._key("delivery-flushes")
        with answering(WAITS), self._redis.pipeline(transaction=True) as both:
            both.hset(key, group, flush_ms)
            both.hexpire(key, FLUSH_KEPT_S, group)
            both.execute()

    def get(self, endpoint: str, delivery_id: str) -> Delivery | None:
        """See ``DeliveryLog.get``."""
        with answering(WAITS):
            return _decode(self._redis.get(self._key("delivery", endpoint, delivery_id)))

    def next_due_ms(self, endpoint: str) -> int | None:
        """See ``DeliveryLog.next_due_ms``."""
        with answering(WAITS), self._redis.pipeline(transaction=True) as both:
            for queue in self._queues(endpoint):
                both.zrange(queue, 0, 0, withscores=True)
            first = both.execute()
        times = [found[0][1] for found in first if found and found[0][1] < math.inf]
        return int(min(times)) if times else None

    def waiting(self, endpoint: str) -> int:
        """See ``DeliveryLog.waiting``."""
        with answering(WAITS), self._redis.pipeline(transaction=True) as both:  # or what moves from one to the other is in none
            for queue in self._queues(endpoint):
                both.zcard(queue)
            return sum(both.execute())

    def endpoint(self, endpoint: str) -> EndpointState:
        """See ``DeliveryLog.endpoint``."""
        with answering(WAITS):
            stored = self._redis.get(self._key("delivery-endpoint", endpoint))
        return EndpointState() if stored is None else EndpointState(**json.loads(stored))

    def set_endpoint(self, endpoint: str, state: EndpointState) -> None:
        """See ``DeliveryLog.set_endpoint``."""
        with answering(WAITS):
            self._redis.set(self._key("delivery-endpoint", endpoint), json.dumps(asdict(state)))

    def _name(self, delivery: Delivery) -> str:
        return self._key("delivery", delivery.endpoint, delivery.delivery_id)

    def _lane(self, delivery: Delivery) -> str:
        return self._key("delivery-lane", delivery.endpoint, delivery.alert_id)

    def _queues(self, endpoint: str) -> list[str]:
        return [self._key("delivery-due", endpoint), self._key("delivery-leased", endpoint)]

    def _key(self, *parts: str) -> str:
        return self._prefix + ":".join(parts)


def _decode(stored: bytes | None) -> Delivery | None:
    return None if stored is None else Delivery.model_validate_json(stored)
