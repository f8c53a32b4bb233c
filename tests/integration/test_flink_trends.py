"""The trends job on a live stream: kills, savepoints and other parallelism change nothing in what it says in the end."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.flink_cluster import FlinkCluster
from infra.flink_job import ensure_running, forget, latest_checkpoint, stop_with_savepoint
from infra.ports import free_ports
from infra.processes import Started, running
from infra.runtime import flink_connector_jar, flink_python, java_binary
from pipeline.adapters.kafka_reader import KafkaReader
from pipeline.adapters.kafka_streams import KafkaSink
from pipeline.adapters.waiting import wait_until
from pipeline.core.corrections import settled_alerts, settled_trends
from pipeline.events import AlertStatus, DeadLetter, ScoredPost
from pipeline.jobs.trends_job import TrendsJob
from pipeline.jobs.trends_settings import describe
from pipeline.settings import KafkaSettings
from tests.parity.flink_runs import Told, publish, settings_for, told_by_flink, told_in_process
from tests.unit.core.streams import DAY_MS, HOUR_MS, START_MS, background, in_order, shift

pytestmark = [pytest.mark.integration, pytest.mark.flink, pytest.mark.slow, pytest.mark.timeout(900)]

SPIKE_MS = START_MS + 4 * DAY_MS + 7 * HOUR_MS
POSTS = in_order(
    *(background(entity, 6, 24, seed) for seed, entity in enumerate(("calm", "spike", "other"))), shift("spike", SPIKE_MS, 16)
)
READY_S = 240.0  # the posts end long after the spike, so that the alert is resolved before the stream goes quiet
SETTLED_S = 240.0


@dataclass
class Lab:
    """A cluster whose task manager a test may kill."""

    cluster: FlinkCluster
    task_manager: Started
    parts: ExitStack

    def kill_task_manager(self) -> None:
        """Kill it without warning and start another."""
        os.kill(self.task_manager.pid, signal.SIGKILL)
        self.task_manager = self.parts.enter_context(running(self.cluster.task_manager(), str(self.cluster.folder)))


@pytest.fixture(scope="module")
def lab(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("trends-flink")
    rest, rpc = free_ports(2)
    cluster = FlinkCluster(folder, flink_python(cache), java_binary(), flink_connector_jar(cache), rest, rpc)
    cluster.prepare()
    with ExitStack() as parts:
        parts.enter_context(running(cluster.job_manager(), str(folder)))
        task_manager = parts.enter_context(running(cluster.task_manager(), str(folder)))
        yield Lab(cluster, task_manager, parts)


@pytest.fixture
def job(lab: Lab, kafka_bootstrap: str, topic_prefix: str) -> Iterator[TrendsJob]:
    """A job on topics of its own that takes checkpoints often and closes the last panes soon."""
    forget(lab.cluster.folder)
    job = describe(settings_for(kafka_bootstrap, topic_prefix))
    yield job.model_copy(update={"checkpoint_interval_ms": 1_000, "idleness_ms": 3_000})
    stop_with_savepoint(lab.cluster, job, READY_S)


def kafka_of(job: TrendsJob) -> KafkaSettings:
    return KafkaSettings(bootstrap=job.bootstrap)


def settled(told: Told) -> tuple[object, object]:
    return settled_trends(told.trends), settled_alerts(told.alerts)


def wait_for_the_same(job: TrendsJob, posts: list[ScoredPost]) -> Told:
    """Wait until the job has said what this process says; fail with the difference."""
    expected = told_in_process(job, posts)
    wait_until(lambda: settled(told_by_flink(kafka_of(job), job)) == settled(expected), SETTLED_S, interval_s=1.0)
    told = told_by_flink(kafka_of(job), job)
    assert settled(told) == settled(expected)
    return told


def wait_for_checkpoint(lab: Lab, job_id: str, after: int = 0) -> int:
    """Wait until more than ``after`` checkpoints are complete; return how many."""
    rest = lab.cluster.rest()
    assert wait_until(lambda: rest.checkpoints(job_id)["counts"]["completed"] > after, READY_S, interval_s=0.2)
    completed: int = rest.checkpoints(job_id)["counts"]["completed"]
    rest.close()
    return completed


def test_the_end_of_a_file_is_told_and_a_killed_task_manager_changes_nothing(lab: Lab, job: TrendsJob) -> None:
    submitted = ensure_running(lab.cluster, job, READY_S)
    assert submitted.resumed_from is None
    assert ensure_running(lab.cluster, job, READY_S).job_id == submitted.job_id
    half = next(number for number, post in enumerate(POSTS) if post.event_time_ms > SPIKE_MS + HOUR_MS / 2)
    publish(kafka_of(job), job.scored, POSTS[:half])
    assert wait_until(lambda: bool(told_by_flink(kafka_of(job), job).trends), READY_S, interval_s=0.5)
    wait_for_checkpoint(lab, submitted.job_id, wait_for_checkpoint(lab, submitted.job_id))

    lab.kill_task_manager()
    publish(kafka_of(job), job.scored, POSTS[half:])

    told = wait_for_the_same(job, POSTS)
    opened = {alert.alert_id for alert in told.alerts if alert.status is AlertStatus.OPENED}
    assert len(opened) == 1
    assert opened == {alert.alert_id for alert in told.alerts if alert.status is AlertStatus.RESOLVED}
    rest = lab.cluster.rest()
    assert rest.checkpoints(submitted.job_id)["counts"]["restored"] >= 1
    rest.close()


def test_state_moves_through_savepoints_to_two_tasks_and_back(lab: Lab, job: TrendsJob) -> None:
    cuts = [len(POSTS) // 3, next(number for number, post in enumerate(POSTS) if post.event_time_ms > SPIKE_MS + HOUR_MS / 2)]
    parts = [POSTS[: cuts[0]], POSTS[cuts[0] : cuts[1]], POSTS[cuts[1] :]]
    for parallelism, part in zip((1, 2, 1), parts, strict=True):
        rescaled = job.model_copy(update={"parallelism": parallelism})
        before = latest_checkpoint(lab.cluster.folder)
        submitted = ensure_running(lab.cluster, rescaled, READY_S)
        assert submitted.resumed_from == (None if before is None else str(before))
        publish(kafka_of(job), job.scored, part)
        if part is parts[-1]:
            break
        known = len(told_by_flink(kafka_of(job), job).trends)
        assert wait_until(lambda k=known: len(told_by_flink(kafka_of(job), job).trends) > k, READY_S, interval_s=0.5)  # type: ignore[misc]
        savepoint = stop_with_savepoint(lab.cluster, job, READY_S)
        assert savepoint is not None
        assert latest_checkpoint(lab.cluster.folder) == Path(savepoint.removeprefix("file:"))

    wait_for_the_same(job, POSTS)


def test_a_record_that_is_no_scored_post_becomes_a_dead_letter_with_its_bytes(lab: Lab, job: TrendsJob) -> None:
    ensure_running(lab.cluster, job, READY_S)
    broken = b'{"entity": "calm", "text": "\xff\xfe\x00"}'
    sink = KafkaSink(kafka_of(job))
    sink.write(job.scored, b"calm", broken, START_MS)
    sink.close()
    publish(kafka_of(job), job.scored, POSTS[:50])

    told = wait_for_the_same(job, POSTS[:50])

    assert told.trends
    letters = [DeadLetter.model_validate_json(record.value) for record in KafkaReader(kafka_of(job)).read_range(job.dead_letters)]
    assert [(each.payload, each.offset, each.timestamp_ms) for each in letters] == [(broken, 0, START_MS)]
