"""Faults of this machine, planted for real: files, sockets, processes, programs that lie about their version."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra import runtime
from infra.check_machine import (
    check_disk,
    check_environment,
    check_flink_python,
    check_home,
    check_jars,
    check_java,
    check_memory,
    check_packages,
    check_ports,
    check_processes,
    check_redis_server,
    needs,
)
from infra.findings import Check, Level, examine
from infra.home import Home
from infra.processes import Started
from infra.runtime import java_candidates, locked_jars
from pipeline.settings import StackSettings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def occupied() -> Iterator[int]:
    """A port on which a socket of this test listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def _java(folder: Path, version: str) -> Path:
    program = folder / "java"
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n", "utf-8")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_392"])
def test_a_java_that_is_too_old(tmp_path: Path, version: str) -> None:
    (found,) = check_java([_java(tmp_path, version), tmp_path / "missing"])
    assert "no Java 17" in found.message
    assert "not runnable" in found.message
    assert "pip install" in found.fix


def test_no_java_at_all() -> None:
    (found,) = check_java([])
    assert "none found" in found.message


def test_one_recent_java_among_old_ones_is_enough(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    assert list(check_java([_java(tmp_path, "11.0.2"), _java(tmp_path / "new", "21.0.8")])) == []


def test_java_home_and_path_are_looked_at_after_the_pinned_package(tmp_path: Path) -> None:
    on_path = _java(tmp_path, "21.0.1")
    found = java_candidates({"JAVA_HOME": "/somewhere", "PATH": str(tmp_path)})
    assert found[-2:] == [Path("/somewhere/bin/java"), on_path]


def test_a_missing_package_says_what_it_costs() -> None:
    (found,) = check_packages({"json": "", "no_such_package": "reads are slow"})
    assert (found.message, found.fix) == ("package no_such_package is missing: reads are slow", "pip install no_such_package")


def test_a_port_that_somebody_else_took(home: Home, occupied: int) -> None:
    (found,) = check_ports(home, StackSettings(kafka_port=occupied))
    assert f"port {occupied} of kafka is taken by process" in found.message
    assert "GROUNDSWELL_STACK__KAFKA_PORT" in found.fix


def test_a_port_kept_from_the_first_start_counts_too(home: Home, occupied: int) -> None:
    home.update(ports={"redis": occupied})
    (found,) = check_ports(home, StackSettings())
    assert f"port {occupied} of redis" in found.message


@pytest.mark.parametrize(
    ("service", "setting"),
    [("worker-1", "WORKER"), ("notifier", "NOTIFY"), ("flink-taskmanager", "STACK__FLINK")],
)
def test_a_port_of_the_metrics_counts_too(home: Home, occupied: int, service: str, setting: str) -> None:
    home.update(metrics={service: occupied})
    (found,) = check_ports(home, StackSettings())
    assert f"port {occupied} of {service}'s metrics is taken by process" in found.message
    assert f"GROUNDSWELL_{setting}_" in found.fix


def test_too_little_disk_and_memory(tmp_path: Path) -> None:
    (disk,) = check_disk(tmp_path / "not" / "yet" / "there", needed=2**60)
    (memory,) = check_memory(needed=2**60)
    assert "GiB free" in disk.message
    assert (disk.level, memory.level) == (Level.ERROR, Level.WARNING)
    assert list(check_disk(tmp_path, needed=1)) == list(check_memory(needed=1)) == []


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")
    (found,) = check_home(Home(tmp_path / "file" / "home"))
    assert "cannot be written" in found.message
    assert list(check_home(Home(tmp_path / "free"))) == []


def test_a_process_that_died_and_one_whose_id_was_recycled(home: Home) -> None:
    import os

    home.remember(Started("kafka", 2**22 + 1, 0.0, "x#kafka", "kafka.log"))
    home.remember(Started("redis", os.getpid(), 0.0, "x#redis", "redis.log"))
    assert [each.message.split()[0] for each in check_processes(home)] == ["kafka", "redis"]


def test_a_jar_that_was_altered(tmp_path: Path) -> None:
    coordinates, sha256 = next(iter(locked_jars("kafka").items()))
    _, artifact, version = coordinates.split(":")
    jar = tmp_path / "jars" / f"{artifact}-{version}-{sha256[:12]}.jar"
    jar.parent.mkdir()
    jar.write_bytes(b"altered")
    (found,) = check_jars(tmp_path)
    assert str(jar) in found.message
    assert found.fix.startswith(f"rm {jar}")


def test_no_python_that_flink_supports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "FLINK_PYTHONS", ("2.7",))
    (found,) = examine([Check("flink-python", lambda: check_flink_python(tmp_path))])["flink-python"]
    assert "Flink needs Python 2.7" in found.message
    assert "uv python install" in found.fix
    runtime.flink_environment(tmp_path).mkdir(parents=True)
    assert list(check_flink_python(tmp_path)) == []


def test_a_misspelt_variable_is_noticed() -> None:
    (found,) = check_environment({"GROUNDSWELL_KAFKA__BOOTSTRAPS": "x", "GROUNDSWELL_KAFKA__BOOTSTRAP": "y", "PATH": ""})
    assert found.message.startswith("GROUNDSWELL_KAFKA__BOOTSTRAPS is no setting")


def test_what_a_running_stack_has_taken_is_not_missing(home: Home) -> None:
    before = needs(home)
    home.remember(Started("redis", os.getpid(), psutil.Process().create_time(), "m#redis", "redis.log"))
    assert needs(home) < before
    assert list(check_memory(needs(home)[1])) == []


def test_a_redis_that_cannot_be_started_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    assert examine([Check("redis-server", check_redis_server)]) == {"redis-server": []}
    monkeypatch.setattr(runtime, "_package_folder", lambda _: None)
    monkeypatch.setenv("PATH", "/proc/nope")
    (found,) = examine([Check("redis-server", check_redis_server)])["redis-server"]
    assert (found.message, found.fix) == ("no redis-server was found", runtime.INSTALL_STACK)
