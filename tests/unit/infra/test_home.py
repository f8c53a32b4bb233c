from pathlib import Path

import pytest

from infra.home import Home
from infra.processes import Started
from pipeline import settings as settings_module
from pipeline.errors import ConfigurationError
from pipeline.settings import StackSettings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("GROUNDSWELL_HOME", "GROUNDSWELL_KAFKA__BOOTSTRAP", "GROUNDSWELL_REDIS__URL"):
        monkeypatch.delenv(name, raising=False)
    return Home(tmp_path / "home")


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


def test_remembers_processes_until_told_to_forget(home: Home) -> None:
    process = Started("kafka", 1, 2.5, "m#kafka", "kafka.log")
    home.remember(process)
    assert home.started() == {"kafka": process}
    home.forget("kafka")
    assert home.started() == {}


def test_one_command_at_a_time_changes_a_stack(home: Home) -> None:
    with home.exclusive(), pytest.raises(ConfigurationError, match="another `groundswell up` or `down`"), home.exclusive():
        pytest.fail("both got in")
    with home.exclusive():
        pass


def test_a_metrics_port_stays_with_its_process(home: Home) -> None:
    first = home.metrics_port("worker-1")
    assert home.metrics_port("worker-2") != first
    assert home.metrics_port("worker-1") == first
