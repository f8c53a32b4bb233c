"""What Flink says now and then, by prepared answers: nothing for a moment, or that it does not know a job that it runs."""

from contextlib import closing
from typing import Any

import pytest

from pipeline.adapters.flink_rest import FlinkRest
from pipeline.errors import Unavailable
from tests.flink_answers import answering, cluster_of

LOST = {"status": {"id": "COMPLETED"}, "operation": {"failure-cause": {"stack-trace": "CheckpointException: lost\n\tat x"}}}


def stopping(*, asked: list[Any], told: list[Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Stop job a of a cluster that answers so when it is asked to stop, and when it is asked how that goes."""
    monkeypatch.setattr("pipeline.adapters.flink_rest.uuid4", lambda: type("Id", (), {"hex": "mine"}))
    with answering({"/jobs/a/stop": asked, "/jobs/a/savepoints/mine": told}) as url, closing(FlinkRest(url)) as rest:
        return rest.stop_with_savepoint("a", "file:/x", 10)


def test_a_savepoint_is_waited_for_although_flink_is_silent_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job ends all the same: who gives up finds none that runs, and says that there was none."""
    done = {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/x/savepoint-a"}}
    asked = [None, {"request-id": "mine"}]
    told = [{"status": {"id": "IN_PROGRESS"}}, None, 503, 404, done]
    assert stopping(asked=asked, told=told, monkeypatch=monkeypatch) == "file:/x/savepoint-a"


def test_a_savepoint_that_failed_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="savepoint of job a failed: CheckpointException: lost$"):
        stopping(asked=[{"request-id": "mine"}], told=[LOST], monkeypatch=monkeypatch)


def test_the_end_of_a_job_is_waited_for_although_flink_is_silent_for_a_moment() -> None:
    running, ended = ({"state": state} for state in ("RUNNING", "FINISHED"))
    with answering({"/jobs/a": [404, running, None, 503, ended]}) as url, closing(FlinkRest(url)) as rest:
        rest.wait_for("a", "FINISHED", 10)


def test_a_job_that_ends_otherwise_is_told_with_its_state() -> None:
    said = pytest.raises(Unavailable, match="job a is CANCELED, not FINISHED")
    with answering(cluster_of(a="CANCELED")) as url, closing(FlinkRest(url)) as rest, said:
        rest.wait_for("a", "FINISHED", 10)
