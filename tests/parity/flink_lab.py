"""A cluster whose task manager a test may kill, and a job whose state survives what the test does to it."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.flink_cluster import FlinkCluster
from infra.flink_job import ensure_running, forget, stop_with_savepoint
from infra.processes import Started, running
from infra.runtime import flink_connector_jar, flink_python, java_binary
from pipeline.adapters.waiting import wait_for_answer
from pipeline.core.corrections import settled_alerts, settled_trends
from pipeline.core.panes import pane_start
from pipeline.events import ScoredPost
from pipeline.jobs.trends_job import TrendsJob
from pipeline.jobs.trends_settings import describe
from pipeline.settings import KafkaSettings
from tests.parity.flink_runs import Told, settings_for, told_by_flink, told_in_process
from tests.ports import free_ports

READY_S = 240.0
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

    def wait_for_checkpoint(self, job_id: str, after: int = 0) -> int:
        """Wait until more than ``after`` checkpoints are complete; return how many."""
        rest = self.cluster.rest()
        completed = 0

        def enough() -> bool:
            nonlocal completed
            completed = rest.checkpoints(job_id)["counts"]["completed"]
            return bool(completed > after)

        assert wait_for_answer(enough, READY_S, interval_s=0.2)
        rest.close()
        return completed

    def run(self, job: TrendsJob, parallelism: int = 1) -> str:
        """Run the job, from where it was stopped; return its id."""
        return ensure_running(self.cluster, job.model_copy(update={"parallelism": parallelism}), READY_S).job_id

    def stop(self, job: TrendsJob) -> Path:
        """Stop the job; return its savepoint."""
        savepoint = stop_with_savepoint(self.cluster, job, READY_S)
        assert savepoint is not None
        return Path(savepoint.removeprefix("file:"))


@contextmanager
def started_lab(cache: Path, folder: Path) -> Iterator[Lab]:
    """Start a cluster in ``folder``; its processes are gone at the end."""
    rest, rpc = free_ports(2)
    cluster = FlinkCluster(folder, flink_python(cache), java_binary(), flink_connector_jar(cache), rest, rpc)
    cluster.prepare()
    with ExitStack() as parts:
        parts.enter_context(running(cluster.job_manager(), str(folder)))
        task_manager = parts.enter_context(running(cluster.task_manager(), str(folder)))
        yield Lab(cluster, task_manager, parts)


@contextmanager
def live_job(lab: Lab, bootstrap: str, prefix: str) -> Iterator[TrendsJob]:
    """Give a job on topics of its own that takes checkpoints often and closes the last panes soon; stop it in the end."""
    forget(lab.cluster.folder)
    job = describe(settings_for(bootstrap, prefix)).model_copy(update={"checkpoint_interval_ms": 1_000, "idleness_ms": 3_000})
    yield job
    stop_with_savepoint(lab.cluster, job, READY_S)


def kafka_of(job: TrendsJob) -> KafkaSettings:
    """Return the broker of a job."""
    return KafkaSettings(bootstrap=job.bootstrap)


def wait_until_at_work(job: TrendsJob, posts: Sequence[ScoredPost]) -> None:
    """Wait until the job tells of the middle of what was published last.

    (Not until it tells more than it has: it may have told everything by the time that one looks.)
    """
    middle_ms = pane_start(posts[len(posts) // 2].event_time_ms)
    wait_for_told(job, lambda told: any(trend.window_start_ms >= middle_ms for trend in told.trends))


def wait_for_told(job: TrendsJob, enough: Callable[[Told], bool], interval_s: float = 0.5) -> None:
    """Wait until what stands in the job's output topics is enough; a broker that is busy for a moment is asked again."""
    assert wait_for_answer(lambda: enough(told_by_flink(kafka_of(job), job)), SETTLED_S, interval_s)


def settled(told: Told) -> tuple[object, object]:
    """Return what holds in the end."""
    return settled_trends(told.trends), settled_alerts(told.alerts)


def wait_for_the_same(job: TrendsJob, posts: list[ScoredPost]) -> Told:
    """Wait until the job has said what this process says; fail with the difference."""
    expected = settled(told_in_process(job, posts))
    wait_for_answer(lambda: settled(told_by_flink(kafka_of(job), job)) == expected, SETTLED_S, interval_s=1.0)
    told = told_by_flink(kafka_of(job), job)
    assert settled(told) == expected
    return told
