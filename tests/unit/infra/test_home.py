import os
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from infra import home as home_module
from infra.home import Home, Ports, refuse_unserved_path
from infra.processes import Started
from pipeline import settings as settings_module
from pipeline.errors import ConfigurationError
from pipeline.settings import StackSettings


def test_ports_are_taken_once_and_kept(home: Home) -> None:
    first = home.ports(StackSettings())
    assert len({first.kafka, first.kafka_controller, first.redis, first.flink_rest, first.flink_rpc}) == 5
    assert home.ports(StackSettings()) == first
    assert Home(home.folder).ports(StackSettings(redis_port=4321)).redis == 4321


def test_settings_find_the_stack_without_being_told(home: Home) -> None:
    ports = home.ports(StackSettings())
    home.publish(ports)
    loaded = settings_module.load()
    assert loaded.home == home.folder
    assert loaded.kafka.bootstrap == f"127.0.0.1:{ports.kafka}"
    assert loaded.redis.url.get_secret_value() == f"redis://127.0.0.1:{ports.redis}/0"
    home.retire()
    assert settings_module.load().home != home.folder
    assert settings_module.load(home.folder).kafka.bootstrap == f"127.0.0.1:{ports.kafka}"


def test_retiring_leaves_the_pointer_of_another_stack(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.publish(other.ports(StackSettings()))
    home.retire()
    assert settings_module.load().home == other.folder


def test_every_port_can_be_set(home: Home) -> None:
    wanted = StackSettings(kafka_port=1, kafka_controller_port=2, redis_port=3, flink_rest_port=4, flink_rpc_port=5)
    assert home.ports(wanted) == Ports(1, 2, 3, 4, 5)
    assert home.metrics_port("notifier", 6) == home.metrics_port("notifier") == 6


def test_what_runs_keeps_its_ports_whatever_is_set_by_now(home: Home) -> None:
    first, metrics = home.ports(StackSettings()), home.metrics_port("redis")
    home.remember(Started("redis", os.getpid(), psutil.Process().create_time(), "m#redis", "redis.log"))
    later = home.ports(StackSettings(redis_port=3, kafka_port=1))
    assert (later.redis, later.kafka) == (first.redis, 1)
    assert home.metrics_port("redis", 6) == metrics


def test_no_port_is_promised_twice(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    offered = iter((1, 1, 2, 1, 2, 3, 2, 4, 5, 5, 1, 6))

    def free_port(promised: Collection[int]) -> int:
        return next(port for port in offered if port not in promised)

    monkeypatch.setattr(home_module, "free_port", free_port)
    assert home.ports(StackSettings()) == Ports(1, 2, 3, 4, 5)
    assert home.metrics_port("notifier") == 6


def test_remembers_processes_until_told_to_forget(home: Home) -> None:
    process = Started("kafka", 1, 2.5, "m#kafka", "kafka.log")
    home.remember(process)
    assert home.started() == {"kafka": process}
    home.forget("kafka")
    assert home.started() == {}
    assert home.stopped() == ["kafka"]
    home.remember(process)
    assert home.stopped() == []


@contextmanager
def over_and_over(work: Callable[[], None]) -> Iterator[None]:
    """Do it on another thread again and again until the block ends."""
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            work()

    with ThreadPoolExecutor(1) as other:
        going = other.submit(go_on)
        try:
            yield
        finally:
            over.set()
        going.result()


def test_a_process_that_is_forgotten_while_one_looks_is_passed_over(home: Home) -> None:
    """`status` asks while `down` is at work."""
    kept, going = (Started(name, 1, 2.5, f"m#{name}", f"{name}.log") for name in ("kafka", "redis"))
    home.remember(kept)

    def come_and_go() -> None:
        home.remember(going)
        home.forget("redis")

    with over_and_over(come_and_go):
        for _ in range(1_000):
            assert home.started().items() <= {"kafka": kept, "redis": going}.items()


def test_the_current_stack_is_named_whole_or_not_at_all(home: Home) -> None:
    ports = home.ports(StackSettings())

    def come_and_go() -> None:
        home.publish(ports)
        home.retire()

    with over_and_over(come_and_go):
        assert {settings_module.current_home() for _ in range(50_000)} <= {home.folder, None}
    assert settings_module.load().home != Path.cwd()


def test_one_command_at_a_time_changes_a_stack(home: Home) -> None:
    with home.exclusive(), pytest.raises(ConfigurationError, match="another `groundswell up` or `down`"), home.exclusive():
        pytest.fail("both got in")
    with home.exclusive():
        pass


def test_a_metrics_port_stays_with_its_process(home: Home) -> None:
    first = home.metrics_port("worker-1")
    assert home.metrics_port("worker-2") != first
    assert home.metrics_port("worker-1") == first


@pytest.mark.parametrize("name", ["stack.json", "run/kafka.json"])
@pytest.mark.parametrize("content", ["", "{brok", '{"nonsense": 1}'])
def test_a_broken_file_is_named(home: Home, name: str, content: str) -> None:
    (home.folder / name).parent.mkdir(parents=True)
    (home.folder / name).write_text(content, "utf-8")
    if name == "stack.json" and content.endswith("}"):
        assert home.read() == {"nonsense": 1}
        return
    with pytest.raises(ConfigurationError, match=rf"{name} (cannot be read|names no process) .*; (mend or )?remove it"):
        home.read() if name == "stack.json" else home.started()


def test_a_file_is_on_the_disk_before_it_takes_its_name(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: kept.append((home.folder / "stack.json").exists()))
    home.update(ports={})
    assert kept == [False]


def test_a_home_that_cannot_be_written_is_named() -> None:
    said = "/proc/nope: nothing can be written there .* --home"
    with pytest.raises(ConfigurationError, match=said), Home(Path("/proc/nope")).exclusive():
        pass


@pytest.mark.parametrize("name", ["my home", "über", "a,b", "a:b", "a#b", "a%20b", "a=b"])
def test_a_path_that_the_servers_would_miss_is_refused_by_its_setting_and_what_is_odd(name: str) -> None:
    with pytest.raises(ConfigurationError, match="--home = /x/.* cannot work in .*; name one of plain letters"):
        refuse_unserved_path(Path("/x") / name, "--home")


@pytest.mark.parametrize("name", ["home/.groundswell", "u@corp.com/~a+b-c_1"])
def test_paths_that_the_servers_take_are_let_in(name: str) -> None:
    refuse_unserved_path(Path("/x") / name, "--home")


def test_where_no_pointer_can_be_written_the_error_says_how_to_move_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nope")
    with pytest.raises(ConfigurationError, match="/proc/nope/groundswell/home cannot be written .* export XDG_STATE_HOME="):
        home.publish(home.ports(StackSettings()))


def test_two_servers_with_one_port_are_refused_and_nothing_is_kept(home: Home) -> None:
    with pytest.raises(ConfigurationError, match="port 3 is both kafka's and redis's; .* GROUNDSWELL_STACK__KAFKA_PORT=PORT"):
        home.ports(StackSettings(kafka_port=3, redis_port=3))
    assert home.read() == {}


def test_ports_of_another_release_s_servers_do_no_harm(home: Home) -> None:
    home.update(ports={"gone": 7})
    assert home.ports(StackSettings(kafka_port=3)).kafka == 3
