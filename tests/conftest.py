"""Real servers for the tests: each is started at most once a session, when a test first asks for it, and always stopped.

Tests share the servers and keep apart by ``topic_prefix`` and ``key_prefix``.
"""

import gc
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from infra.flink_cluster import FlinkCluster
from infra.kafka_server import KafkaServer
from infra.ports import free_port
from infra.processes import running
from infra.redis_server import RedisServer
from infra.runtime import flink_connector_jar, flink_python, java_binary, kafka_jars, redis_binary
from pipeline.settings import KafkaSettings, load
from tests.ports import free_ports

# A busy machine is not a wrong answer; and what CI judges is the change, so its examples are the same every time.
hypothesis_settings.register_profile("groundswell", deadline=None, derandomize="CI" in os.environ)
hypothesis_settings.load_profile("groundswell")

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests share the cores already; read when torch is loaded

SMALL_BROKER = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


SERVERS_TIMEOUT_S = 240  # the first test that asks for a server waits for its start, which a busy machine draws out


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests on real servers time, and forgive what kafka-python 3.0.12 leaks.

    (A connection that fails while it is being set up keeps its socket.)
    """
    forgiven = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
    for item in items:
        if item.get_closest_marker("integration") is not None:
            item.add_marker(forgiven)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(SERVERS_TIMEOUT_S))


@pytest.fixture(autouse=True)
def leaks_end_where_they_are_forgiven(request: pytest.FixtureRequest) -> Iterator[None]:
    """Collect what a test on a broker leaked at its end: else Python warns of it in a later test of the same process."""
    yield
    if request.node.get_closest_marker("integration") is not None:
        gc.collect()


@pytest.fixture(scope="session")
def cache() -> Path:
    """Where downloaded software stands; the same as the product's, so that a second run downloads nothing."""
    return load().cache


@pytest.fixture(scope="session")
def kafka_server(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """A running Apache Kafka."""
    folder = tmp_path_factory.mktemp("kafka")
    port, controller_port = free_ports(2)
    server = KafkaServer(folder, java_binary(), kafka_jars(cache), port, controller_port, SMALL_BROKER)
    server.prepare()
    with running(server, str(folder)):
        yield server


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running Redis 8."""
    folder = tmp_path_factory.mktemp("redis")
    server = RedisServer(folder, redis_binary(), free_port())
    server.prepare()
    with running(server, str(folder)):
        yield server


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka_server: KafkaServer) -> str:
    """Address of a running Kafka."""
    return kafka_server.bootstrap


@pytest.fixture(scope="session")
def redis_url(redis_server: RedisServer) -> str:
    """Address of a running Redis."""
    return redis_server.url


@pytest.fixture(scope="session")
def flink(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    """A running Flink session cluster; give it jobs with ``submit`` and ask about them with ``rest``."""
    folder = tmp_path_factory.mktemp("flink")
    rest, rpc, *metrics = free_ports(4)
    connector = flink_connector_jar(cache)
    cluster = FlinkCluster(folder, flink_python(cache), java_binary(), connector, rest, rpc, (metrics[0], metrics[1]))
    cluster.prepare()
    with running(cluster.job_manager(), str(folder)), running(cluster.task_manager(), str(folder)):
        yield cluster


@pytest.fixture
def topic_prefix(kafka_bootstrap: str) -> Iterator[str]:
    """A prefix for this test's topics, which are deleted afterwards."""
    from pipeline.adapters.kafka_admin import KafkaAdmin

    prefix = f"t{uuid.uuid4().hex[:12]}."
    yield prefix
    with KafkaAdmin(KafkaSettings(bootstrap=kafka_bootstrap)) as admin:
        admin.delete(name for name in admin.topics() if name.startswith(prefix))


@pytest.fixture
def key_prefix(redis_url: str) -> Iterator[str]:
    """A prefix for this test's keys, which are deleted afterwards."""
    import redis

    prefix = f"t{uuid.uuid4().hex[:12]}:"
    yield prefix
    with redis.Redis.from_url(redis_url) as client:
        for key in client.scan_iter(match=f"{prefix}*", count=1000):
            client.unlink(key)


@pytest.fixture
def unused_port() -> int:
    """A port of the loopback interface where nobody listens."""
    return free_port()
