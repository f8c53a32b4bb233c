"""One worker of the product on real servers, inside the benchmark's process."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.kafka_source import KafkaSource
from pipeline.adapters.redis_store import RedisProfileStore, connect
from pipeline.adapters.stores import ProfileStore
from pipeline.settings import Settings
from pipeline.telemetry import Metrics
from workers.encoder import Encoder
from workers.hosting import make_linker
from workers.rules import WorkerRules, system_clock
from workers.worker import Brain, Connections, Worker


@contextmanager
def redis_store(settings: Settings) -> Iterator[RedisProfileStore]:
    """Yield the profile store of these settings."""
    client = connect(settings.redis.url.get_secret_value())
    with closing(RedisProfileStore(client, settings.redis.key_prefix, settings.profiles.idle_ttl_days)) as store:
        yield store


@contextmanager
def worker_on(settings: Settings, encoder: Encoder, store: ProfileStore | None = None) -> Iterator[tuple[Worker, Metrics]]:
    """Yield a worker that is connected to Kafka and Redis, and its metrics."""
    metrics = Metrics()
    rules = WorkerRules.from_settings(settings)
    with ExitStack() as stack:
        profiles = stack.enter_context(redis_store(settings)) if store is None else store
        sink = stack.enter_context(closing(KafkaSink(settings.kafka)))
        topics = [rules.topics.posts, rules.topics.events]
        source = stack.enter_context(closing(KafkaSource(settings.kafka, settings.worker.group, topics, metrics)))
        brain = Brain(encoder, make_linker(settings))
        worker = Worker(Connections(source, sink, profiles), brain, rules, metrics, system_clock())
        yield stack.enter_context(closing(worker)), metrics
