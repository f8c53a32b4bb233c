"""`groundswell work` as real processes on a real Kafka and a real Redis: killed, doubled, and stopped in order."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from infra.ports import free_port
from pipeline.adapters.kafka_admin import KafkaAdmin, TopicState
from pipeline.adapters.kafka_reader import KafkaReader
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.redis_store import RedisProfileStore, connect
from pipeline.adapters.stores import MemoryProfileStore, ProfileStore
from pipeline.adapters.streams import TopicPartition
from pipeline.adapters.waiting import wait_until
from pipeline.core.profile_bytes import encode
from pipeline.settings import KafkaSettings
from pipeline.topics import EVENTS, POSTS, TOPICS
from tests.unit.workers.playground import NOW, Playground, click, post, rules

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

COMMAND = [sys.executable, "-m", "pipeline.cli", "work", "--encoder", "fake"]
USERS = [f"u{n}" for n in range(7)] + [f"a{n}" for n in range(5)]
TIMEOUT_S = 180.0
INPUTS = (POSTS, EVENTS)


@dataclass
class Stack:
    """Topics of one prefix, keys of another, and the workers' command."""

    kafka: KafkaSettings
    redis_url: str
    key_prefix: str
    home: Path

    def topic(self, name: str) -> str:
        return f"{self.kafka.topic_prefix}{name}"

    def environment(self, **more: str) -> dict[str, str]:
        return dict(os.environ) | {
            "GROUNDSWELL_HOME": str(self.home),
            "GROUNDSWELL_KAFKA__BOOTSTRAP": self.kafka.bootstrap,
            "GROUNDSWELL_KAFKA__TOPIC_PREFIX": self.kafka.topic_prefix,
            "GROUNDSWELL_KAFKA__SESSION_TIMEOUT_MS": "6000",
            "GROUNDSWELL_REDIS__URL": self.redis_url,
            "GROUNDSWELL_REDIS__KEY_PREFIX": self.key_prefix,
            "GROUNDSWELL_WORKER__GROUP": f"{self.kafka.topic_prefix}workers",
            "GROUNDSWELL_WORKER__MAX_POLL_RECORDS": "100",
            **more,
        }

    @contextmanager
    def working(self, *options: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
        with (self.home / "log").open("ab") as log:
            process = subprocess.Popen([*COMMAND, *options], env=self.environment(**more), stderr=log)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(10)

    def fill(self, values: Mapping[str, list[tuple[bytes, bytes]]]) -> None:
        sink = KafkaSink(self.kafka)
        for topic, records in values.items():
            for key, value in records:
                sink.write(self.topic(topic), key, value, NOW)
        sink.close()

    def store(self) -> RedisProfileStore:
        return RedisProfileStore(connect(self.redis_url), self.key_prefix)

    def settled(self) -> int:
        """Ask Redis alone: it is quick, so that a kill hits the worker in the middle of its work."""
        partitions = [TopicPartition(t.full_name(self.kafka.topic_prefix), n) for t in INPUTS for n in range(t.partitions)]
        with closing(self.store()) as store:
            progress = store.progress(partitions)
        return sum(one.scored + one.dead for one in progress.values())

    def committed(self) -> int:
        with KafkaAdmin(self.kafka) as admin:
            return sum(admin.committed(f"{self.kafka.topic_prefix}workers").values())

    def scored(self) -> Counter[tuple[str, str]]:
        values = [json.loads(record.value) for record in self._read("scored")]
        return Counter((value["event_id"], value["entity"]) for value in values)

    def letters(self) -> set[tuple[str, int, int]]:
        values = [json.loads(record.value) for record in self._read("dead-letters")]
        return {(value["topic"], value["partition"], value["offset"]) for value in values}

    def _read(self, name: str) -> list[Any]:
        return list(KafkaReader(self.kafka).read_range(self.topic(name)))


@pytest.fixture
def stack(kafka_bootstrap: str, topic_prefix: str, redis_url: str, key_prefix: str, tmp_path: Path) -> Stack:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap, topic_prefix=topic_prefix)
    with KafkaAdmin(kafka) as admin:
        admin.create([TopicState(topic.full_name(topic_prefix), topic.partitions, 1, {}) for topic in TOPICS])
    return Stack(kafka, redis_url, key_prefix, tmp_path)


def records(size: int) -> dict[str, list[tuple[bytes, bytes]]]:
    posts = [post(n) for n in range(size)]
    clicks = [click(n) for n in range(size)]
    return {
        "posts": [(p["event_id"].encode(), json.dumps(p).encode()) for p in posts] + [(b"bad", b"not json")] * 3,
        "events": [(c["user_id"].encode(), json.dumps(c).encode()) for c in clicks] + [(b"bad", b"{}")] * 3,
    }


def profiles(store: ProfileStore) -> dict[str, bytes]:
    found = {user_id: store.get(user_id) for user_id in USERS}
    return {user_id: encode(profile) for user_id, profile in found.items() if profile is not None}


def expected_profiles(values: Mapping[str, list[tuple[bytes, bytes]]]) -> dict[str, bytes]:
    """Return what one worker in memory makes of the same records."""
    ground = Playground(store=MemoryProfileStore(), rules=rules())
    for topic, pairs in values.items():
        for key, value in pairs:
            ground.broker.append(f"groundswell.{topic}", key, value, NOW)
    ground.run()
    return profiles(ground.store)


def expect(condition: Callable[[], bool], stack: Stack) -> None:
    assert wait_until(condition, TIMEOUT_S), (stack.home / "log").read_text("utf-8")[-3_000:]


def test_a_killed_worker_leaves_the_same_profiles_as_one_that_lived(stack: Stack) -> None:
    values = records(3_000)
    stack.fill(values)
    for share in (0.2, 0.5):
        with stack.working(GROUNDSWELL_WORKER__MAX_POLL_RECORDS="20") as process:
            expect(lambda: stack.settled() > share * 6_006, stack)  # noqa: B023 - called at once
            process.send_signal(signal.SIGKILL)
            process.wait(10)
    assert stack.settled() < 6_006
    with stack.working("--until-idle") as process:
        assert process.wait(TIMEOUT_S) == 0, (stack.home / "log").read_text("utf-8")[-3_000:]
    assert profiles(stack.store()) == expected_profiles(values)
    assert set(stack.scored()) == {(f"p{n}", "AAPL") for n in range(3_000)}
    assert len(stack.letters()) == 6
    assert (stack.settled(), stack.committed()) == (6_006, 6_006)


def test_two_replicas_share_the_partitions_and_one_that_dies_ends_both(stack: Stack) -> None:
    values = records(2_000)
    with stack.working("--replicas", "2") as parent:
        group = f"{stack.kafka.topic_prefix}workers"
        with KafkaAdmin(stack.kafka) as admin:
            expect(lambda: admin.members(group) == 2, stack)
        stack.fill(values)
        expect(lambda: stack.settled() == 4_006, stack)
        assert profiles(stack.store()) == expected_profiles(values)
        scored = stack.scored()  # a partition that changed hands brings what was in flight again, with the same ids
        assert set(scored) == {(f"p{n}", "AAPL") for n in range(2_000)}
        assert scored.total() <= 2_000 + 2 * 2 * 100
        child = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text("ascii").split()[-1])
        os.kill(child, signal.SIGKILL)
        assert parent.wait(TIMEOUT_S) == 1
    with KafkaAdmin(stack.kafka) as admin:
        expect(lambda: admin.members(group) == 0, stack)


def test_a_worker_says_how_it_is_and_stops_in_order(stack: Stack) -> None:
    port = free_port()
    stack.fill(records(200))
    with stack.working(GROUNDSWELL_WORKER__METRICS_PORT=str(port)) as process:
        expect(lambda: stack.settled() == 406, stack)
        # the store has them a moment before the worker has committed and counted them
        expect(lambda: "\ngroundswell_in_flight_records 0.0\n" in metrics(port), stack)
        assert ask(port, "/readyz") == {"ready": True, "detail": "0 records in flight"}
        assert ask(port, "/livez") == {"live": True}
        text = metrics(port)
        assert 'groundswell_scored_total{topic="posts"} 200.0' in text
        assert 'groundswell_dead_letters_total{reason="invalid_json",topic="posts"} 3.0' in text
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    assert stack.committed() == 406


def test_a_topic_with_other_partitions_is_told_and_read_all_the_same(stack: Stack) -> None:
    other = replace(stack, kafka=stack.kafka.model_copy(update={"topic_prefix": f"{stack.kafka.topic_prefix}x."}))
    with KafkaAdmin(other.kafka) as admin:
        admin.create([TopicState(other.topic(topic.name), 3 if topic is POSTS else topic.partitions, 1, {}) for topic in TOPICS])
    other.fill(records(200))
    with other.working("--until-idle") as process:
        assert process.wait(TIMEOUT_S) == 0
    (told,) = [json.loads(line) for line in (other.home / "log").read_text("utf-8").splitlines() if "topic_differs" in line]
    assert (told["topic"], told["partitions"], told["expected"]) == (other.topic("posts"), 3, 4)
    assert other.settled() == 406


def ask(port: int, path: str) -> Any:
    return json.loads(fetch(port, path))


def metrics(port: int) -> str:
    return fetch(port, "/metrics").decode()


def fetch(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        content: bytes = answer.read()
        return content


def test_a_worker_without_a_broker_says_so(tmp_path: Path, unused_port: int) -> None:
    environment = dict(os.environ) | {
        "GROUNDSWELL_HOME": str(tmp_path),
        "GROUNDSWELL_KAFKA__BOOTSTRAP": f"127.0.0.1:{unused_port}",
    }
    ended = subprocess.run(COMMAND, env=environment, capture_output=True, timeout=TIMEOUT_S, check=False)
    assert ended.returncode == 1
    assert f"127.0.0.1:{unused_port}" in ended.stderr.decode()
