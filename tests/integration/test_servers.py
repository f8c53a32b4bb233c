"""The fixtures' servers are the real ones, with the settings that the product relies on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infra import log4j
from infra.kafka_server import KafkaServer
from infra.processes import running
from infra.runtime import java_binary, kafka_jars
from infra.versions import OLDEST_KAFKA
from pipeline.adapters import redis_admin, redis_store
from pipeline.adapters.kafka_admin import KafkaAdmin, TopicState
from pipeline.adapters.redis_delivery_log import RedisDeliveryLog
from pipeline.adapters.streams import TopicPartition
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.log_files import LOG_BYTES
from pipeline.settings import KafkaSettings
from tests.conftest import SMALL_BROKER
from tests.ports import free_ports

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


def test_kafka_keeps_its_log_within_two_generations(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start alone logs some 40 kB."""
    bound, longest_record = 8_000, 30_000
    monkeypatch.setattr(log4j, "ROLLING", log4j.ROLLING.replace(str(LOG_BYTES), str(bound)))
    port, controller_port = free_ports(2)
    server = KafkaServer(tmp_path, java_binary(), kafka_jars(cache), port, controller_port, SMALL_BROKER)
    server.prepare()
    with running(server, str(tmp_path)):
        pass
    logs = {each.name: each.stat().st_size for each in tmp_path.glob("kafka*.*")}
    assert set(logs) == {"kafka.log", "kafka.log.1", "kafka.out"}
    assert 0 < logs["kafka.log"] < bound + longest_record
    assert logs["kafka.log.1"] < bound + longest_record


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
