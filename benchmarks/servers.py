"""Real Kafka and Redis of one benchmark's own, gone when it ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from infra.kafka_server import KafkaServer
from infra.ports import free_port
from infra.processes import running
from infra.provision import expected_topics, provision
from infra.redis_server import RedisServer
from infra.runtime import java_binary, kafka_jars, redis_binary
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.settings import KafkaSettings, RedisSettings, Settings, load


@contextmanager
def servers() -> Iterator[Settings]:
    """Start Kafka and Redis on free ports, provision the topics, and yield the settings that reach them."""
    settings = load()
    with TemporaryDirectory(prefix="groundswell-bench-") as folder:
        kafka = KafkaServer(Path(folder) / "kafka", java_binary(), kafka_jars(settings.cache), free_port(), free_port())
        redis = RedisServer(Path(folder) / "redis", redis_binary(), free_port())
        kafka.prepare()
        redis.prepare()
        with running(kafka, folder), running(redis, folder):
            reached = settings.model_copy(
                update={"kafka": KafkaSettings(bootstrap=kafka.bootstrap), "redis": RedisSettings(url=redis.url)}
            )
            with KafkaAdmin(reached.kafka) as admin:
                provision(admin, expected_topics(reached.kafka.topic_prefix, 1), apply=True)
            yield reached
