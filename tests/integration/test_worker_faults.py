"""A worker lives through a Redis that is killed, comes back, and even lost its last writes."""

import os
import signal
from pathlib import Path

import pytest

from infra.ports import free_port
from infra.processes import running
from infra.redis_server import RedisServer
from infra.runtime import redis_binary
from pipeline.adapters.kafka_admin import KafkaAdmin, TopicState
from pipeline.settings import KafkaSettings
from pipeline.topics import TOPICS
from tests.integration.test_worker import TIMEOUT_S, Stack, expect, expected_profiles, profiles, records

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

SIZE = 3_000
RECORDS = 2 * SIZE + 6


@pytest.fixture
def own_redis(tmp_path: Path) -> RedisServer:
    server = RedisServer(tmp_path / "redis", redis_binary(), free_port())
    server.prepare()
    return server


@pytest.fixture
def stack(kafka_bootstrap: str, topic_prefix: str, own_redis: RedisServer, tmp_path: Path) -> Stack:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap, topic_prefix=topic_prefix)
    with KafkaAdmin(kafka) as admin:
        admin.create([TopicState(topic.full_name(topic_prefix), topic.partitions, 1, {}) for topic in TOPICS])
    return Stack(kafka, own_redis.url, "groundswell:", tmp_path)


@pytest.mark.parametrize("lost_bytes", [0, 2_000_000])
def test_redis_is_killed_under_a_worker(stack: Stack, own_redis: RedisServer, lost_bytes: int) -> None:
    values = records(SIZE)
    stack.fill(values)
    log = stack.home / "log"
    with stack.working(GROUNDSWELL_WORKER__MAX_POLL_RECORDS="20") as worker:
        with running(own_redis, str(own_redis.folder)) as redis:
            expect(lambda: stack.settled() > RECORDS * 0.3, stack)
            os.kill(redis.pid, signal.SIGKILL)
            expect(lambda: "server_unavailable" in log.read_text("utf-8"), stack)
        if lost_bytes:
            cut_tail(own_redis.folder / "data", lost_bytes)
        with running(own_redis, str(own_redis.folder)):
            expect(lambda: stack.settled() == RECORDS, stack)
            assert worker.poll() is None
            assert profiles(stack.store()) == expected_profiles(values)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(TIMEOUT_S) == 0
    assert set(stack.scored()) == {(f"p{n}", "AAPL") for n in range(SIZE)}
    assert stack.committed() == RECORDS
    assert ("store_behind" in log.read_text("utf-8")) is (lost_bytes > 0)


def cut_tail(folder: Path, size: int) -> None:
    """Take the end of the append-only file away, as a machine that died with unwritten pages does."""
    (file,) = folder.glob("appendonlydir/*.incr.aof")
    length = file.stat().st_size
    assert length > 2 * size, length
    os.truncate(file, length - size)
