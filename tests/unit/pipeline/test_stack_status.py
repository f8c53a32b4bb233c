"""What `status` says of a stack that is down, half up, or whose job ended; the healthy one is an integration test."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import psutil
import pytest

from infra.home import Home
from infra.processes import Started
from pipeline.adapters.health import HealthServer, Readiness
from pipeline.commands.stack_status import ServiceState, report
from pipeline.settings import KafkaSettings, NotifySettings, Settings, WorkerSettings
from pipeline.telemetry import Metrics
from tests.flink_answers import answering, cluster_of


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def away(unused_port: int) -> Settings:
    """Settings of servers that do not answer."""
    return Settings(kafka=KafkaSettings(bootstrap=f"127.0.0.1:{unused_port}"))


@contextmanager
def prose() -> Iterator[str]:
    """Answer every question with a page for people, as many a web server does; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<!doctype html>")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def states(home: Home, settings: Settings) -> dict[str, str]:
    return {each.name: each.state for each in report(home, settings).services}


def alive(name: str) -> Started:
    return Started(name, os.getpid(), psutil.Process().create_time(), f"m#{name}", f"{name}.log")


def test_where_nothing_ever_ran_only_the_accounting_is_missing(home: Home, away: Settings) -> None:
    found = report(home, away).as_dict()
    assert [each["name"] for each in found["services"]] == ["accounting"]
    assert "groundswell up" in found["services"][0]["detail"]
    assert found["accepted"] is None


def test_what_was_stopped_and_what_died_is_named_with_the_command_that_starts_it(home: Home, away: Settings) -> None:
    home.remember(alive("redis"))
    home.remember(Started("kafka", 2**22 + 1, 0.0, "m#kafka", "kafka.log"))
    home.remember(alive("worker-1"))
    home.forget("worker-1")
    found = {each.name: each for each in report(home, away).services}
    assert {name: each.state for name, each in found.items() if name != "accounting"} == {
        "kafka": "dead",
        "redis": "running",
        "worker-1": "stopped",
    }
    assert all("groundswell up" in found[name].detail for name in ("kafka", "worker-1"))
    assert not report(home, away).healthy


def state_of(name: str, home: Home, settings: Settings) -> ServiceState:
    return next(each for each in report(home, settings).services if each.name == name)


@pytest.mark.parametrize("name", ["worker-1", "notifier"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_process_that_lives_and_fails_its_own_question_is_not_ready_and_says_why(
    home: Home, away: Settings, name: str, host: str
) -> None:
    home.remember(alive(name))
    told = [Readiness(False, "a record is in flight for 700 s, longer than 600 s")]
    listening = {"worker": WorkerSettings(metrics_host=host), "notify": NotifySettings(metrics_host=host)}
    settings = away.model_copy(update=listening)
    with HealthServer(Metrics(), lambda: told[-1], host) as server:
        home.update(metrics={name: server.port})
        found = state_of(name, home, settings)
        assert (found.state, found.ok) == ("not ready", False)
        assert found.detail == f"process {os.getpid()}: {told[0].detail}; its log: {name}.log"
        told.append(Readiness(True, "0 records in flight"))
        assert state_of(name, home, settings) == ServiceState(name, "running", f"process {os.getpid()}")


def test_a_process_that_lives_and_does_not_answer_is_not_ready(home: Home, away: Settings, unused_port: int) -> None:
    home.remember(alive("worker-1"))
    home.update(metrics={"worker-1": unused_port})
    found = state_of("worker-1", home, away)
    assert found.state == "not ready"
    assert f"http://127.0.0.1:{unused_port}/readyz does not answer" in found.detail


def test_servers_of_others_are_not_asked_what_they_do_not_know(home: Home, away: Settings, unused_port: int) -> None:
    home.remember(alive("flink-taskmanager"))
    home.update(metrics={"flink-taskmanager": unused_port})
    assert state_of("flink-taskmanager", home, away).state == "running"


@pytest.mark.parametrize(
    ("jobs", "state"),
    [
        ({"a": "RUNNING"}, "RUNNING"),
        ({"a": "RESTARTING"}, "RESTARTING"),
        ({"a": "FAILED", "b": "RUNNING"}, "RUNNING"),
        ({"a": "FAILED"}, "FAILED"),
        ({"a": "CANCELED", "b": "FINISHED"}, "stopped"),
        ({}, "stopped"),
    ],
)
def test_the_trends_job_is_told_as_it_is_also_when_it_is_gone(
    home: Home, away: Settings, jobs: dict[str, str], state: str
) -> None:
    home.remember(alive("flink-jobmanager"))
    with answering(cluster_of(**jobs)) as url:
        home.update(flink={"rest_url": url})
        assert states(home, away)["trends"] == state


def test_another_server_on_the_port_of_a_flink_that_died_is_told(home: Home, away: Settings) -> None:
    """After a restart of the machine anybody may have it."""
    home.remember(Started("flink-jobmanager", 2**22 + 1, 0.0, "m#flink-jobmanager", "flink.log"))
    with prose() as url:
        home.update(flink={"rest_url": url})
        (trends,) = (each for each in report(home, away).services if each.name == "trends")
    assert (trends.state, trends.detail) == ("unreachable", f"{url} answers, and is no Flink; end it, then: groundswell up")


def test_a_job_whose_tasks_still_start_is_starting(home: Home, away: Settings) -> None:
    home.remember(alive("flink-jobmanager"))
    answers = cluster_of(a="RUNNING")
    answers["/jobs/overview"]["jobs"][0]["tasks"]["running"] = 0
    with answering(answers) as url:
        home.update(flink={"rest_url": url})
        assert states(home, away)["trends"] == "STARTING"


def test_a_job_that_fails_again_and_again_is_told_with_its_reason(home: Home, away: Settings) -> None:
    home.remember(alive("flink-jobmanager"))
    answers = cluster_of(a="RESTARTING")
    words = "StateVersionError: the state of an entity has version 9, this code reads up to 2; upgrade before restoring"
    trace = f"java.lang.Exception: x\n\tat y\nCaused by: Traceback\npipeline.errors.{words}\n\n\tat z"
    answers["/jobs/a/exceptions"] = {"exceptionHistory": {"entries": [{"stacktrace": trace}]}}
    with answering(answers) as url:
        home.update(flink={"rest_url": url})
        (trends,) = (each for each in report(home, away).services if each.name == "trends")
    assert trends.detail == f"{url}/#/job/a {words}"


def test_a_first_start_that_was_cut_short_is_told_as_far_as_it_came(home: Home, away: Settings) -> None:
    home.remember(alive("flink-jobmanager"))
    assert states(home, away) == {"flink-jobmanager": "running", "accounting": "unreachable"}
