"""`up`, `status`, `down` as a user types them, with real servers in a folder of the test's own."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.home import Home
from infra.processes import MARKER, is_alive
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.redis_store import RedisProfileStore, connect, progress_key
from pipeline.adapters.stores import Outcomes
from pipeline.adapters.streams import TopicPartition
from pipeline.adapters.waiting import wait_until
from pipeline.settings import Settings
from pipeline.topics import POSTS

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

ONLY_SERVERS = ("--workers", "0", "--no-notifier", "--no-flink")


class Stack:
    """The command line on one home, in an account state of its own."""

    def __init__(self, home: Path, state: Path) -> None:
        self.home = Home(home)
        foreign = ("GROUNDSWELL_KAFKA__BOOTSTRAP", "GROUNDSWELL_REDIS__URL", "GROUNDSWELL_HOME")
        self.env = {name: value for name, value in os.environ.items() if name not in foreign}
        patient = {"GROUNDSWELL_STACK__START_TIMEOUT_S": "300"}  # a machine that is busy with other things is no fault
        self.env |= patient | {"XDG_STATE_HOME": str(state), "GROUNDSWELL_STACK__KAFKA_HEAP": "384m"}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one verb."""
        command = [sys.executable, "-m", "pipeline.cli", *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=600, check=False)

    def up(self, *options: str) -> str:
        """Bring it up; fail with what it said where that fails."""
        done = self.run("up", "--home", str(self.home.folder), *(options or ONLY_SERVERS))
        assert done.returncode == 0, done.stderr
        return done.stderr

    def status(self) -> dict[str, Any]:
        """Ask without naming the home: the pointer file must lead there."""
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def settings(self) -> Settings:
        """Return the settings as another verb reads them."""
        return Settings(**self.home.read()["settings"])

    def processes(self) -> list[int]:
        """Return every process that belongs to this stack, by the marker in its environment."""
        return [each.pid for each in psutil.process_iter() if _marker(each).startswith(self.home.marker + "#")]


def _marker(process: psutil.Process) -> str:
    try:
        return str(process.environ().get(MARKER, ""))
    except psutil.Error:
        return ""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for the tests of this file, which find it up or down and leave it up."""
    folder = tmp_path_factory.mktemp("stack")
    made = Stack(folder / "home", folder / "state")
    yield made
    made.run("down", "--home", str(made.home.folder))
    assert made.processes() == []


def test_data_and_ports_survive_a_restart_and_down_leaves_nothing(stack: Stack) -> None:
    stack.up()
    first = stack.settings()
    name = POSTS.full_name(first.kafka.topic_prefix)
    _write(first, name, 5)
    found = stack.status()
    numbers = {key: found[key] for key in ("accepted", "scored", "dead_letters", "in_flight", "lag", "balanced")}
    assert numbers == {"accepted": 5, "scored": 0, "dead_letters": 0, "in_flight": 5, "lag": 5, "balanced": True}
    assert {each["name"]: each["state"] for each in found["services"]} == {"kafka": "running", "redis": "running"}

    before = stack.home.started()
    assert "runs already" in stack.up()
    assert stack.home.started() == before

    stopped = stack.run("down")
    assert stopped.returncode == 0
    assert stack.processes() == []
    assert not any(is_alive(each) for each in before.values())
    assert not (Path(stack.env["XDG_STATE_HOME"]) / "groundswell" / "home").exists()

    found = json.loads(stack.run("status", "--home", str(stack.home.folder), "--json").stdout)
    states = {each["name"]: each["state"] for each in found["services"]}
    assert states == {"kafka": "stopped", "redis": "stopped", "accounting": "unreachable"}

    stack.up()
    assert stack.settings() == first
    assert stack.status()["accepted"] == 5


def test_a_port_that_somebody_else_took_is_named_before_anything_starts(tmp_path: Path) -> None:
    other = Stack(tmp_path / "home", tmp_path / "state")
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        other.env["GROUNDSWELL_STACK__REDIS_PORT"] = str(taken)
        failed = other.run("up", "--home", str(other.home.folder), *ONLY_SERVERS)
    assert failed.returncode == 1
    said = " ".join(failed.stderr.split())
    assert f"port {taken} of redis is taken" in said
    assert "GROUNDSWELL_STACK__REDIS_PORT=PORT groundswell up" in said
    assert other.processes() == []


def test_a_server_that_does_not_come_up_shows_the_end_of_its_log(tmp_path: Path) -> None:
    other = Stack(tmp_path / "home", tmp_path / "state")
    (other.home.folder / "redis" / "data" / "appendonlydir").mkdir(parents=True)
    manifest = other.home.folder / "redis" / "data" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("file nowhere.aof seq 1 type b\n", "utf-8")
    try:
        failed = other.run("up", "--home", str(other.home.folder), *ONLY_SERVERS)
        assert failed.returncode == 1
        assert "redis ended while starting" in failed.stderr
        assert "nowhere.aof" in failed.stderr
        assert "groundswell doctor" in failed.stderr
    finally:
        other.run("down", "--home", str(other.home.folder))
    assert other.processes() == []


def test_status_counts_what_the_workers_counters_say_and_sees_a_lost_record(stack: Stack) -> None:
    stack.up()
    settings = stack.settings()
    name = POSTS.full_name(settings.kafka.topic_prefix)
    _write(settings, name, 6)
    ends = _ends(settings, name)
    filled = [at for at, end in ends.items() if end]
    with connect(settings.redis.url.get_secret_value()) as client:
        store = RedisProfileStore(client, settings.redis.key_prefix)
        store.advance({at: Outcomes(ends[at], range(1, ends[at]), [0]) for at in filled})
        whole = stack.status()
        assert (whole["accepted"], whole["in_flight"], whole["balanced"]) == (sum(ends.values()), 0, True)
        assert (whole["scored"], whole["dead_letters"]) == (sum(ends.values()) - len(filled), len(filled))

        client.hincrby(progress_key(settings.redis.key_prefix, filled[0]), "scored", -1)
        assert stack.run("status").returncode == 1
        assert stack.status()["balanced"] is False
        client.hincrby(progress_key(settings.redis.key_prefix, filled[0]), "scored", 1)


def test_a_killed_server_is_seen_and_started_again(stack: Stack) -> None:
    stack.up()
    killed = stack.home.started()["redis"]
    os.kill(killed.pid, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(killed), 30)
    states = {each["name"]: each["state"] for each in stack.status()["services"]}
    assert states["redis"] == "dead"
    stack.up()
    assert stack.home.started()["redis"].pid != killed.pid
    assert {each["state"] for each in stack.status()["services"]} == {"running"}


def _write(settings: Settings, topic: str, records: int) -> None:
    sink = KafkaSink(settings.kafka)
    for number in range(records):
        sink.write(topic, f"{number}".encode(), b"{}", 1_700_000_000_000 + number)
    sink.close()


def _ends(settings: Settings, topic: str) -> dict[TopicPartition, int]:
    from pipeline.adapters.kafka_admin import KafkaAdmin

    with KafkaAdmin(settings.kafka) as admin:
        return {at: end for at, (_, end) in admin.offsets([topic]).items()}
