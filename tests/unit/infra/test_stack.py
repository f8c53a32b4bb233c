"""Which ports the processes of the stack take, and by which settings; the processes themselves are an integration test."""

import os
import socket
from pathlib import Path

import pytest

from infra import stack
from infra.home import Home
from infra.ports import LOOPBACK
from infra.processes import Started
from pipeline.errors import ConfigurationError
from pipeline.settings import KafkaSettings, NotifySettings, Settings, WorkerSettings


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_workers_take_the_metrics_port_that_is_set_and_those_that_follow(home: Home) -> None:
    services = stack.worker_services(home, Settings(worker=WorkerSettings(metrics_port=7000)), 3)
    assert [dict(each.ports) for each in services] == [{port: "WORKER__METRICS_PORT"} for port in (7000, 7001, 7002)]
    assert services[1].address == "http://127.0.0.1:7001/metrics"
    assert services[1].server.command().env["GROUNDSWELL_WORKER__METRICS_PORT"] == "7001"


def test_the_notifier_takes_its_own(home: Home) -> None:
    service = stack.notifier_service(home, Settings(notify=NotifySettings(metrics_port=7010)))
    assert service.server.command().env["GROUNDSWELL_NOTIFY__METRICS_PORT"] == "7010"
    assert dict(service.ports) == {7010: "NOTIFY__METRICS_PORT"}


def test_without_a_setting_each_has_a_free_port_that_stays(home: Home) -> None:
    first = [list(each.ports) for each in stack.worker_services(home, Settings(), 2)]
    assert first[0] != first[1]
    assert [list(each.ports) for each in stack.worker_services(home, Settings(), 2)] == first


def test_a_taken_port_is_named_with_the_setting_that_moves_it(home: Home) -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        taken = server.getsockname()[1]
        services = stack.worker_services(home, Settings(worker=WorkerSettings(metrics_port=taken)), 1)
        with pytest.raises(ConfigurationError, match=f"port {taken} of worker-1 .*GROUNDSWELL_WORKER__METRICS_PORT=PORT"):
            stack.bring_up(home, services, 1, print)
    assert home.started() == {}


def test_processes_that_want_one_port_are_named_before_anything_starts(home: Home) -> None:
    settings = Settings(worker=WorkerSettings(metrics_port=7000), notify=NotifySettings(metrics_port=7001))
    services = [*stack.worker_services(home, settings, 2), stack.notifier_service(home, settings)]
    said = "port 7001 is wanted by worker-2 and by notifier; .* GROUNDSWELL_NOTIFY__METRICS_PORT=PORT"
    with pytest.raises(ConfigurationError, match=said):
        stack.bring_up(home, services, 1, print)
    assert home.started() == {}


def test_more_workers_than_ports_follow_are_refused_and_nothing_is_kept(home: Home) -> None:
    settings = Settings(worker=WorkerSettings(metrics_port=65_535))
    assert len(stack.worker_services(home, settings, 1)) == 1
    kept = home.read()
    with pytest.raises(ConfigurationError, match="METRICS_PORT = 65535 leaves no ports for 2 workers; set it to 65534 at most"):
        stack.worker_services(home, settings, 2)
    assert home.read() == kept


def test_a_reader_is_not_given_up_because_the_broker_does_not_answer_for_a_moment(home: Home, unused_port: int) -> None:
    """`up` waits until it is ready, and would end it at the first error."""
    settings = Settings(kafka=KafkaSettings(bootstrap=f"{LOOPBACK}:{unused_port}"))
    assert not stack.notifier_service(home, settings).server.ready()


def test_what_flink_left_of_its_jobs_goes_at_the_end_and_its_state_stays(home: Home) -> None:
    for name in ("tmp", "savepoints"):
        (home.folder / "flink" / name / "job").mkdir(parents=True)
    stack.sweep(home, lambda _: None)
    assert [each.name for each in (home.folder / "flink").iterdir()] == ["savepoints"]


def test_a_disk_that_takes_nothing_keeps_no_process_running(home: Home) -> None:
    for name in ("kafka", "redis"):
        home.remember(Started(name, 2**22 + 1, 0.0, f"{os.getpid()}#{name}", f"{name}.log"))
    (home.folder / "stack.json").unlink()
    (home.folder / "stack.json").mkdir()
    told: list[str] = []
    stack.bring_down(home, told.append)
    assert home.started() == {}
    assert [line for line in told if "was not running" in line] == ["kafka: was not running", "redis: was not running"]
    assert sum("status will not name it" in line for line in told) == 2
