import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from pipeline.adapters.health import HealthServer, Readiness, ask_readiness
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.telemetry import Metrics
from tests.flink_answers import answering


class State:
    readiness = Readiness(True, "fine")


@pytest.fixture
def state() -> State:
    return State()


@pytest.fixture
def server(state: State) -> Iterator[HealthServer]:
    metrics = Metrics()
    metrics.count("accepted_total", 3, topic="posts")
    with HealthServer(metrics, lambda: state.readiness) as running:
        yield running


def ask(server: HealthServer, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_process_that_works_is_live_and_ready(server: HealthServer) -> None:
    assert ask(server, "/livez")[0] == 200
    assert ask(server, "/readyz?verbose") == (200, '{"ready": true, "detail": "fine"}\n')


def test_a_stuck_process_is_live_but_not_ready_and_says_why(server: HealthServer, state: State) -> None:
    state.readiness = Readiness(False, "a record is in flight for 200 s")
    status, body = ask(server, "/readyz")
    assert (status, json.loads(body)["detail"]) == (503, "a record is in flight for 200 s")
    assert ask(server, "/livez")[0] == 200


def test_metrics_are_in_prometheus_text(server: HealthServer) -> None:
    status, body = ask(server, "/metrics")
    assert status == 200
    assert 'groundswell_accepted_total{topic="posts"} 3.0' in body


def test_other_paths_are_told_what_there_is(server: HealthServer) -> None:
    status, body = ask(server, "/")
    assert status == 404
    assert "/readyz" in body


def test_a_port_that_is_taken_is_named_with_the_settings_that_move_it(server: HealthServer) -> None:
    told = rf"metrics port {server.port} on 127.0.0.1 .*set GROUNDSWELL_.*NOTIFY.*__METRICS_PORT to another"
    with pytest.raises(ConfigurationError, match=told):
        HealthServer(Metrics(), lambda: Readiness(True), port=server.port)


@pytest.mark.parametrize("told", [Readiness(True, "fine"), Readiness(False, "a record is in flight for 200 s")])
def test_a_process_that_is_asked_says_what_it_knows(server: HealthServer, state: State, told: Readiness) -> None:
    state.readiness = told
    assert ask_readiness("127.0.0.1", server.port) == told


def test_who_does_not_answer_or_is_somebody_else_is_unavailable(unused_port: int) -> None:
    with pytest.raises(Unavailable, match=f"http://127.0.0.1:{unused_port}/readyz does not answer"):
        ask_readiness("127.0.0.1", unused_port)
    with answering({"/readyz": 404}) as url, pytest.raises(Unavailable, match="does not say whether it is ready"):
        ask_readiness("127.0.0.1", int(url.rpartition(":")[2]))
