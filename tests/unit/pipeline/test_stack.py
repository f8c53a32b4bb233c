"""`up` and `down` where something is missing or broken; with real servers they are integration tests."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra import stack
from infra.flink_cluster import FlinkPart
from infra.home import Home, Ports
from infra.processes import Command, Started, is_alive, start, stop
from pipeline.commands.options import EncoderChoice
from pipeline.commands.stack import Anew, down, up
from pipeline.environment import setters
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.settings import Settings, StackSettings, TrendSettings, load
from tests.flink_answers import answering, cluster_of


@contextmanager
def live(home: Home, *names: str) -> Iterator[list[Started]]:
    """Run processes of this stack that do nothing but live."""
    idle = (sys.executable, "-c", "import signal; signal.pause()")
    processes = [start(Command(name, idle, home.folder / f"{name}.log", {}), home.marker) for name in names]
    try:
        for each in processes:
            home.remember(each)
        yield processes
    finally:
        for each in processes:
            stop(each)


def test_down_ends_what_runs_also_where_stack_json_was_removed(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with live(home, "redis", "flink-jobmanager") as processes:
        (home.folder / "stack.json").unlink()
        down(home.folder)
        assert not any(map(is_alive, processes))
    assert "stopped without a savepoint" in capsys.readouterr().err


def test_down_needs_none_of_the_servers_software(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cache that is gone, or a lock that a new release changed, must not have Flink built anew, nor the servers go on."""
    monkeypatch.setenv("GROUNDSWELL_CACHE", "/proc/nope")
    with live(home, "kafka", "flink-jobmanager", "flink-taskmanager") as processes, answering(cluster_of()) as url:
        home.update(flink={"rest_url": url})
        down(home.folder)
        assert not any(map(is_alive, processes))
    assert "trends: was not running" in capsys.readouterr().err


def test_without_a_broker_no_savepoint_is_tried(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with live(home, "flink-jobmanager", "flink-taskmanager"), answering({}) as url:
        home.update(flink={"rest_url": url})
        down(home.folder)
    assert "trends: stopped without a savepoint" in capsys.readouterr().err


def test_ports_are_not_made_up_for_what_runs(home: Home) -> None:
    with live(home, "kafka"), pytest.raises(ConfigurationError, match=r"kafka runs, and .*stack\.json .*; groundswell down"):
        home.ports(StackSettings())


def test_profiles_cannot_begin_again_beside_a_worker_that_is_left_alone(home: Home) -> None:
    with live(home, "worker-1"), pytest.raises(ConfigurationError, match="--anew profiles: worker-1 runs .*groundswell down"):
        up(home.folder, 1, EncoderChoice.FAKE, flink=False, notifier=False, anew=[Anew.PROFILES])
    assert not (home.folder / "kafka").exists()


def test_whatever_becomes_of_a_start_the_stack_is_found_without_its_name(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice of a failed `up` names no home, and status must know the endpoints of what was started."""
    monkeypatch.setenv("GROUNDSWELL_STACK__START_TIMEOUT_S", "0.2")

    def nothing_to_fetch(*_: object) -> list[stack.Service]:
        mute = Command("kafka", (sys.executable, "-c", "import signal; signal.pause()"), home.folder / "kafka.log", {})
        return [stack.Service("kafka", FlinkPart(mute, lambda: False), lambda: None, {}, "")]

    monkeypatch.setattr(stack, "kafka_and_redis", nothing_to_fetch)
    with pytest.raises(Unavailable, match="kafka is not ready after 0.2 s"):
        up(home.folder, 0, EncoderChoice.FAKE, flink=False, notifier=False)
    assert load().home == home.folder
    assert load().kafka.bootstrap == f"127.0.0.1:{home.read()['ports']['kafka']}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GROUNDSWELL_KAFKA__BOOTSTRAP", "other:9092"),
        ("groundswell_redis__url", "redis://other"),
        ("GROUNDSWELL_KAFKA", '{"bootstrap": "other:9092"}'),
    ],
)
def test_servers_of_others_are_refused_however_they_are_named(
    home: Home, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """`up` would make its topics there, and its worker would read them."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=f"{variable} sets .*; leave .* out, or run: unset {variable}"):
        up(home.folder, 0, EncoderChoice.FAKE, flink=False, notifier=False)


def test_other_settings_of_the_same_group_are_no_servers_of_others(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDSWELL_KAFKA", '{"topic_prefix": "mine."}')
    assert setters("kafka", "bootstrap") == []


def test_more_tasks_than_the_cluster_has_slots_are_refused_before_anything_is_built(home: Home) -> None:
    settings = Settings(trends=TrendSettings(parallelism=3), cache=Path("/proc/nope"))
    with pytest.raises(ConfigurationError, match="GROUNDSWELL_TRENDS__PARALLELISM = 3: .* 2 task slots; set it to 2"):
        stack.flink_cluster(home, settings, Ports(1, 2, 3, 4, 5))
