"""The whole stack as a user starts it: Flink and its job, a worker, the notifier; records counted; nothing left behind."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from infra.processes import is_alive, members
from pipeline.adapters.waiting import wait_until
from tests.integration.test_stack import Stack

pytestmark = [pytest.mark.integration, pytest.mark.flink, pytest.mark.slow, pytest.mark.timeout(1800)]
EVERYTHING = ("--workers", "1", "--encoder", "fake")


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("whole")
    made = Stack(folder / "home", folder / "state")
    yield made
    made.run("down", "--home", str(made.home.folder))
    assert made.processes() == []


def test_records_are_accounted_for_and_a_lost_task_manager_leaves_no_orphans(stack: Stack) -> None:
    assert "from the beginning" in stack.up(*EVERYTHING)
    truth = stack.home.folder / "truth.jsonl"
    sent = stack.run("produce", "synthetic", "--posts", "300", "--users", "20", "--truth", str(truth))
    assert sent.returncode == 0, sent.stderr
    assert wait_until(lambda: _settled(stack), 180, interval_s=1.0), stack.status()
    states = {each["name"]: each["state"] for each in stack.status()["services"]}
    assert states.pop("trends") == "RUNNING"
    assert set(states.values()) == {"running"}
    assert {"kafka", "redis", "flink-jobmanager", "flink-taskmanager", "worker-1", "notifier"} == set(states)

    worker = psutil.Process(stack.home.started()["worker-1"].pid)
    worker.suspend()
    stuck = next(each for each in stack.status()["services"] if each["name"] == "worker-1")
    worker.resume()
    assert stuck["state"] == "not ready"
    assert "/readyz does not answer (timed out)" in stuck["detail"]

    lost = stack.home.started()["flink-taskmanager"]
    assert wait_until(lambda: len(members(lost.marker)) > 1, 120), "Flink's Python worker never started"
    children = [each for each in members(lost.marker) if each.pid != lost.pid]
    for each in children:
        with suppress(psutil.NoSuchProcess):
            each.suspend()  # so that none ends by itself before it is looked for
    os.kill(lost.pid, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(lost), 30)
    orphans = {each.pid for each in children} & {each.pid for each in members(lost.marker)}
    assert orphans, "without orphans this test shows nothing"
    stack.up(*EVERYTHING)
    assert not orphans & {each.pid for each in members(lost.marker)}
    assert stack.home.started()["flink-taskmanager"].pid != lost.pid

    stopped = stack.run("down")
    assert "stopped at savepoint" in stopped.stderr
    assert stack.processes() == []


def _settled(stack: Stack) -> bool:
    found = stack.status()
    return bool(found["balanced"] and found["accepted"] and found["accepted"] == found["scored"] + found["dead_letters"])
