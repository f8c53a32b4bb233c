"""The fixtures' servers are the real ones, with the settings that the product relies on."""

from collections.abc import Callable

import pytest

from infra.versions import OLDEST_KAFKA
from pipeline.adapters import redis_admin, redis_store
from pipeline.adapters.kafka_admin import KafkaAdmin, TopicState
from pipeline.adapters.redis_delivery_log import RedisDeliveryLog
from pipeline.adapters.streams import TopicPartition
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.settings import KafkaSettings

pytestmark = pytest.mark.integration


def test_kafka_keeps_topics_apart_by_prefix(kafka_bootstrap: str, topic_prefix: str) -> None:
    name = f"{topic_prefix}posts"
    with KafkaAdmin(KafkaSettings(bootstrap=kafka_bootstrap)) as admin:
        admin.create([TopicState(name, 3, 1, {"retention.ms": "-1"})])
        state = admin.describe([name, f"{topic_prefix}missing"])
        assert list(state) == [name]
        assert (state[name].partitions, state[name].replication_factor) == (3, 1)
        assert state[name].configs["retention.ms"] == "-1"
        assert admin.offsets([name]) == {TopicPartition(name, each): (0, 0) for each in range(3)}
        assert admin.committed(f"{topic_prefix}nobody") == {}
        assert admin.broker_version() >= OLDEST_KAFKA


def test_kafka_makes_no_topic_by_itself(kafka_bootstrap: str) -> None:
    with KafkaAdmin(KafkaSettings(bootstrap=kafka_bootstrap)) as admin:
        assert admin.broker_configs()["auto.create.topics.enable"] == "false"


def test_an_absent_broker_is_unavailable(unused_port: int) -> None:
    with pytest.raises(Unavailable, match="groundswell up"):
        KafkaAdmin(KafkaSettings(bootstrap=f"127.0.0.1:{unused_port}"), connect_timeout_ms=300)


def test_redis_keeps_what_it_is_given(redis_url: str, key_prefix: str) -> None:
    import redis

    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.set(f"{key_prefix}a", "1")
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.execute_command("VADD", f"{key_prefix}v", "VALUES", 2, 1.0, 0.0, "x") == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda url, prefix: redis_store.RedisProfileStore(redis_store.connect(url), prefix).get("u"),
        lambda url, prefix: RedisDeliveryLog.connect(url, prefix).endpoint("e"),
        lambda url, _: redis_admin.facts(url),
    ],
    ids=["profiles", "deliveries", "doctor"],
)
def test_a_refused_login_is_not_waited_for(redis_url: str, key_prefix: str, ask: Callable[[str, str], object]) -> None:
    with pytest.raises(ConfigurationError, match="refuses the login.*GROUNDSWELL_REDIS__URL"):
        ask(redis_url.replace("redis://", "redis://nobody:wrong@"), key_prefix)
