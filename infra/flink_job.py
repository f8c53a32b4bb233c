"""The trends job on a Flink cluster: submitted once, stopped and resumed without losing state.

FOLDER/trends/job.json      what the job is told; private, because Kafka's credentials stand in it
FOLDER/trends/submissions   the ids under which it was submitted, so that its checkpoints are found after a crash
FOLDER/trends/savepoints    where ``stop_with_savepoint`` writes
FOLDER/trends/name          the name of the job whose all that is; of a job on other topics it lies aside in FOLDER/trends.HASH
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import pipeline
from infra.flink_cluster import ANSWER_TIMEOUT_S, FlinkCluster, address
from pipeline.adapters.flink_rest import FlinkJob, FlinkRest
from pipeline.adapters.waiting import wait_for_answer
from pipeline.errors import ConfigurationError, Unavailable

SCRIPT: Final = Path(pipeline.__file__).parent / "jobs" / "trends_flink.py"
SAVEPOINT_TIMEOUT_S: Final = 60.0
SAVEPOINT_INTERVAL_S: Final = 0.5


class Cluster(Protocol):
    """A cluster that runs: where it keeps its files and answers. Stopping a job needs none of the cluster's software."""

    @property
    def folder(self) -> Path:
        """Return the folder with its state."""

    def rest(self) -> FlinkRest:
        """Return a client of its REST interface."""


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """A cluster as stack.json remembers it."""

    folder: Path
    rest_url: str

    def rest(self) -> FlinkRest:
        """Return a client of its REST interface, as patient as ``FlinkCluster.rest``."""
        return FlinkRest(self.rest_url, ANSWER_TIMEOUT_S)


class JobDocument(Protocol):
    """What a job is told (``pipeline.jobs.trends_job``); infra does not look inside."""

    @property
    def name(self) -> str:
        """Return the name under which the cluster shows it."""

    def model_dump_json(self) -> str:
        """Return the document that its script reads."""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A running job: its id, whether this call started it, and the checkpoint or savepoint it went on from."""

    job_id: str
    fresh: bool
    resumed_from: str | None


def ensure_running(cluster: FlinkCluster, job: JobDocument, timeout_s: float, *, from_beginning: bool = False) -> Submitted:
    """Leave a running job alone; else submit it, from its newest checkpoint or savepoint unless ``from_beginning``.

    One that ends while it is looked at, as one that is being stopped does, is submitted again. Returns when all its tasks run.
    Raises Unavailable with the job's own exception when they do not in time, Stop when Flink's client refuses it,
    ConfigurationError when it runs and should begin again.
    """
    rest = cluster.rest()
    try:
        running = running_job(rest, job)
        if running is not None and from_beginning:
            raise ConfigurationError(
                "the trends job runs, and goes on from where it is", "end it first: groundswell trends --stop"
            )
        _give_place(cluster.folder, job.name)
        if running is not None:
            _note(cluster.folder, running)  # a client that was ended after it had handed the job over did not come to that
            if _tasks_run(rest, running, timeout_s):
                return Submitted(running, fresh=False, resumed_from=None)
        if from_beginning:
            forget(cluster.folder)
        resume = latest_checkpoint(cluster.folder)
        job_id = cluster.submit(SCRIPT, [str(_write(cluster.folder, job))], None if resume is None else address(resume))
        _note(cluster.folder, job_id)
        _tasks_run(rest, job_id, timeout_s)
        return Submitted(job_id, fresh=True, resumed_from=None if resume is None else str(resume))
    finally:
        rest.close()


def _tasks_run(rest: FlinkRest, job_id: str, timeout_s: float) -> bool:
    """Wait until all tasks run, or the job ended (False); raise Unavailable where it failed, or neither comes in time.

    A job whose task manager was lost is RUNNING long before its tasks are.
    """
    seen: list[FlinkJob] = []

    def settled() -> bool:
        seen.append(rest.job(job_id))
        return seen[-1].tasks_run or seen[-1].has_ended

    in_time = wait_for_answer(settled, timeout_s, interval_s=0.2)
    if not in_time or seen[-1].state == "FAILED":
        problem = "failed" if in_time else f"does not run after {timeout_s:g} s"
        raise Unavailable(f"the trends job {problem}. {rest.cause(job_id)}")
    return not seen[-1].has_ended


def running_job(rest: FlinkRest, job: JobDocument) -> str | None:
    """Return the id under which this job runs or is being restarted; None where it does not."""
    return next((each.job_id for each in rest.jobs() if each.name == job.name and not each.has_ended), None)


def stop_with_savepoint(cluster: Cluster, job: JobDocument, timeout_s: float = SAVEPOINT_TIMEOUT_S) -> str | None:
    """Stop the job after its state is written; return the savepoint, or None where it does not run.

    Where the savepoint fails it is tried again until ``timeout_s`` is over: a task manager is lost for seconds before Flink
    knows, up to its heartbeat's time limit, and until then every try fails at once. Raises Unavailable when none succeeds: then
    the last checkpoint, at most one interval old, serves as well.
    """
    rest = cluster.rest()
    written: list[str | None] = []

    def stopped() -> bool:
        written.append(_stop(cluster, rest, job, timeout_s))
        return True

    try:
        wait_for_answer(stopped, timeout_s, SAVEPOINT_INTERVAL_S)
        return written[0]
    finally:
        rest.close()


def _stop(cluster: Cluster, rest: FlinkRest, job: JobDocument, timeout_s: float) -> str | None:
    job_id = running_job(rest, job)
    if job_id is None or not _tasks_run(rest, job_id, timeout_s):
        return None
    _give_place(cluster.folder, job.name)
    return rest.stop_with_savepoint(job_id, address(_place(cluster.folder) / "savepoints"), timeout_s)


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint or savepoint of the job on this cluster, or None."""
    completed = {each: _completed_at_ns(each) for each in _retained(folder)}
    return max((each for each, at_ns in completed.items() if at_ns), key=completed.__getitem__, default=None)


def forget(folder: Path) -> None:
    """Forget every checkpoint and savepoint: the next submission reads the scored posts from the beginning."""
    (_place(folder) / "submissions").unlink(missing_ok=True)
    shutil.rmtree(_place(folder) / "savepoints", ignore_errors=True)


def _note(folder: Path, job_id: str) -> None:
    """Keep the id under which the job was submitted: its checkpoints stand in a folder of that name."""
    if job_id not in _submissions(folder):
        with (_place(folder) / "submissions").open("a", encoding="ascii") as file:
            file.write(f"{job_id}\n")


def _submissions(folder: Path) -> list[str]:
    submissions = _place(folder) / "submissions"
    return submissions.read_text("ascii").split() if submissions.is_file() else []


def _retained(folder: Path) -> Iterator[Path]:
    for job_id in _submissions(folder):
        yield from _matching(folder / "checkpoints" / job_id, "chk-")
    yield from _matching(_place(folder) / "savepoints", "savepoint-")


def _matching(folder: Path, prefix: str) -> list[Path]:
    """Return what stands there now: Flink may delete the folder itself at any time after its job has ended."""
    try:
        return [each for each in folder.iterdir() if each.name.startswith(prefix)]
    except FileNotFoundError:
        return []


def _completed_at_ns(state: Path) -> int:
    """Return when it became complete; 0 where it is not, or is gone: Flink deletes a stopped job's checkpoints a moment late."""
    try:
        return (state / "_metadata").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _give_place(folder: Path, name: str) -> None:
    """Make FOLDER/trends that of the job of this name, and lay aside what is there of another.

    A job on other topics that went on from it would read the old topics too, and know entities that it never saw. A folder
    without a name is of a release that knew one job only: it is this job's.
    """
    place, kept = folder / "trends", _aside(folder, name)
    owner = (place / "name").read_text("utf-8") if (place / "name").is_file() else None
    if owner is not None and owner != name:
        place.rename(_aside(folder, owner))
    if kept.is_dir() and not (place / "submissions").exists():
        shutil.rmtree(place, ignore_errors=True)
        kept.rename(place)
    if owner != name:
        (_place(folder) / "name").write_text(name, "utf-8")


def _aside(folder: Path, name: str) -> Path:
    return folder / f"trends.{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _place(folder: Path) -> Path:
    place = folder / "trends"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _write(folder: Path, job: JobDocument) -> Path:
    path = _place(folder) / "job.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(job.model_dump_json())
    return path
