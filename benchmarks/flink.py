"""The trend operator in Flink against the same operator in process: ``python -m benchmarks.flink --json``.

The same synthetic scored posts go through real Kafka and a real session cluster, for each Python execution mode and
parallelism, and through the in-process host (decoding and markets included) in the same run. Every Flink run is done twice, with
few posts and with many, and the difference is what counts: starting a job costs the same for both, and so does most of what
Java compiles while it runs, if the few take a while. Wall-clock rates suffer from neighbours on the machine, posts per CPU
second do less so. CPU time is that of the broker, the job manager, the task manager and its Python workers, told part by part.

Parallelism n has n cores and no more, for everything: broker, job manager, and the task manager with its Python workers are
confined to them. Else one task already uses two cores, with a thread of Java and a process of Python beside the broker, and a
second task finds nothing that is free. The topics are filled before. ``of_its_cores`` is the CPU time over the time of these
cores: near 1, the processor sets the pace. ``scaling_1_to_2`` is the rate of two tasks over that of one. By the wall clock 2 is
linear; by CPU time 1 is: a second task makes no post dearer. A rate is null where noise is larger than what was measured.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Annotated, Any
from uuid import uuid4

import psutil
import typer

from benchmarks.machine import describe as describe_machine
from benchmarks.trends_stream import stream
from infra.flink_cluster import FlinkCluster
from infra.flink_job import SCRIPT
from infra.kafka_server import KafkaServer
from infra.ports import free_port
from infra.processes import running
from infra.provision import expected_topics, provision
from infra.runtime import flink_connector_jar, flink_python, java_binary, kafka_jars
from pipeline.adapters.flink_rest import FINAL_STATES
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.waiting import wait_until
from pipeline.events import ScoredPost
from pipeline.jobs.trends import make_host
from pipeline.jobs.trends_job import TrendsJob
from pipeline.jobs.trends_settings import describe
from pipeline.settings import KafkaSettings, Settings, load

TIMEOUT_S = 900.0
CHECKPOINT_MS = 2_000  # a bounded job ends with a checkpoint, so its time is known to this
LOOK_S = 0.25  # a part's last CPU time before it ends is that old at most
BROKER, JOB_MANAGER, TASK_MANAGER, WORKERS = "broker", "job_manager", "task_manager", "python_workers"
MODES = ("process", "thread")
PARALLELISMS = (1, 2)


Run = tuple[float, dict[str, float]]  # wall-clock seconds, CPU seconds by part


class Bench:
    """A broker and a cluster of the benchmark's own."""

    def __init__(self, bootstrap: str, cluster: FlinkCluster, parts: Mapping[str, int]) -> None:
        self._bootstrap = bootstrap
        self._cluster = cluster
        self._parts = parts

    def topics_with(self, posts: Sequence[ScoredPost]) -> Settings:
        """Return settings for new topics that hold these posts."""
        settings = Settings(kafka=KafkaSettings(bootstrap=self._bootstrap, topic_prefix=f"b{uuid4().hex[:8]}."))
        with KafkaAdmin(settings.kafka) as admin:
            provision(admin, expected_topics(settings.kafka.topic_prefix, 1), apply=False)
        sink, scored = KafkaSink(settings.kafka), describe(settings).scored
        for post in posts:
            sink.write(scored, post.entity.encode(), post.to_json(), post.event_time_ms)
        sink.close()
        return settings

    def run(self, job: TrendsJob) -> Run:
        """Run a bounded job; return its wall-clock seconds and the CPU seconds of each part, both with its start.

        Each job has a task manager of its own: a second job in thread mode fails in the same one.
        """
        path = self._cluster.folder / "bench.json"
        path.write_text(job.model_dump_json(), "utf-8")
        with running(self._cluster.task_manager(), str(self._cluster.folder)) as started:
            meter = Meter({**self._parts, TASK_MANAGER: started.pid})
            job_id = self._cluster.submit(SCRIPT, [str(path)])
            rest = self._cluster.rest()
            wait_until(lambda: meter.look() and rest.state(job_id) in FINAL_STATES, TIMEOUT_S, interval_s=LOOK_S)
            rest.wait_for(job_id, "FINISHED", TIMEOUT_S)
            rest.close()
            return self._duration_s(job_id), meter.spent()

    def _duration_s(self, job_id: str) -> float:
        rest = self._cluster.rest()
        seconds = rest.duration_ms(job_id) / 1000
        rest.close()
        return seconds


class Meter:
    """CPU seconds of the broker, the job manager, the task manager and its Python workers, since this meter was made.

    Whoever starts a worker ends before it, so no process counts its time among its children's: it is looked at while it lives.
    """

    def __init__(self, parts: Mapping[str, int]) -> None:
        self._parts = {name: psutil.Process(pid) for name, pid in parts.items()}
        self._seconds: dict[tuple[str, int], float] = {}
        self.look()
        self._before = self._sums()

    def look(self) -> bool:
        """Note the time of all that lives; always true."""
        for name, process in self._parts.items():
            self._note(name, process)
        with suppress(psutil.NoSuchProcess):
            for worker in self._parts[TASK_MANAGER].children(recursive=True):
                self._note(WORKERS, worker)
        return True

    def spent(self) -> dict[str, float]:
        """Return the seconds by part."""
        return {name: seconds - self._before.get(name, 0.0) for name, seconds in self._sums().items()}

    def _note(self, name: str, process: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            self._seconds[name, process.pid] = times.user + times.system

    def _sums(self) -> dict[str, float]:
        sums: dict[str, float] = {}
        for (name, _), seconds in self._seconds.items():
            sums[name] = sums.get(name, 0.0) + seconds
        return sums


@contextmanager
def confined(cores: int) -> Iterator[None]:
    """Let this process, and what it starts meanwhile, run on so many cores only; raise ValueError where there are not so many."""
    allowed = os.sched_getaffinity(0)
    if len(allowed) < cores:
        raise ValueError(f"{cores} tasks need {cores} cores, this process may use {len(allowed)}")
    os.sched_setaffinity(0, sorted(allowed)[:cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@contextmanager
def bench() -> Iterator[Bench]:
    """Start Kafka and Flink; both are gone at the end."""
    cache = load().cache
    with TemporaryDirectory(prefix="groundswell-bench-") as folder:
        kafka = KafkaServer(Path(folder) / "kafka", java_binary(), kafka_jars(cache), free_port(), free_port())
        cluster = FlinkCluster(
            Path(folder) / "flink", flink_python(cache), java_binary(), flink_connector_jar(cache), free_port(), free_port()
        )
        kafka.prepare()
        cluster.prepare()
        with running(kafka, folder) as broker, running(cluster.job_manager(), folder) as job_manager:
            yield Bench(kafka.bootstrap, cluster, {BROKER: broker.pid, JOB_MANAGER: job_manager.pid})


def in_process(posts: Sequence[ScoredPost], job: TrendsJob) -> dict[str, float]:
    """Return the rate of the in-process host, from bytes to bytes, markets included, on one core."""
    payloads = [post.to_json() for post in posts]
    host = make_host(job.detector)
    begun = process_time()
    for step in host.on_posts(ScoredPost.model_validate_json(payload) for payload in payloads):
        _ = [record.to_json() for record in (*step.trends, *step.alerts)]
    host.finish()
    return {"posts_per_cpu_second": round(len(posts) / (process_time() - begun))}


def _rate(posts: int, seconds: float) -> int | None:
    return round(posts / seconds) if seconds > 0 else None


def scaling(one: dict[str, Any], two: dict[str, Any]) -> dict[str, float | None]:
    """Return the rates of two tasks over those of one, by the wall clock and by CPU time."""
    ratios: dict[str, float | None] = {}
    for short, name in (("wall", "posts_per_second"), ("cpu", "posts_per_cpu_second")):
        known = one[name] is not None and two[name] is not None
        ratios[short] = round(two[name] / one[name], 2) if known else None
    return ratios


def compared(few: Run, many: Run, more: int, cores: int) -> dict[str, Any]:
    """Return what ``more`` posts cost: the difference of two runs on so many cores."""
    wall = many[0] - few[0]
    cpu = {name: seconds - few[1].get(name, 0.0) for name, seconds in many[1].items()}
    spent = sum(cpu.values())
    return {
        "posts_per_second": _rate(more, wall),
        "posts_per_cpu_second": _rate(more, spent),
        "of_its_cores": round(spent / (cores * wall), 2) if wall > 0 else None,
        "cpu_ms_per_post": {name: round(1000 * seconds / more, 3) for name, seconds in cpu.items()},
        "seconds": [round(few[0], 1), round(many[0], 1)],
    }


def measure(
    lab: Bench, posts: Sequence[ScoredPost], few: int, modes: Sequence[str], parallelism: int
) -> dict[str, dict[str, Any]]:
    """Return what the execution modes do with as many cores as tasks."""
    found: dict[str, dict[str, Any]] = {}
    small, large = lab.topics_with(posts[:few]), lab.topics_with(posts)
    for mode in modes:
        changes = {
            "bounded": True,
            "parallelism": parallelism,
            "execution_mode": mode,
            "checkpoint_interval_ms": CHECKPOINT_MS,
        }
        began = lab.run(describe(small).model_copy(update=changes))
        ended = lab.run(describe(large).model_copy(update=changes | {"group": uuid4().hex}))
        found[f"flink_{mode}_{parallelism}"] = compared(began, ended, len(posts) - few, parallelism)
        typer.echo(json.dumps({f"{mode} {parallelism}": found[f"flink_{mode}_{parallelism}"]}), err=True)
    return found


def main(
    posts: Annotated[int, typer.Option(help="How many scored posts.")] = 200_000,
    few: Annotated[int, typer.Option(help="How many of them the shorter runs take.")] = 40_000,
    days: Annotated[float, typer.Option(help="Over how many days of event time.")] = 20.0,
    modes: Annotated[str, typer.Option(help="Which Python execution modes, with commas.")] = ",".join(MODES),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object last.")] = False,
) -> None:
    """Measure the execution modes at parallelism 1 and 2, with one core and with two."""
    many = stream(entities=80, posts=posts, days=days)
    result: dict[str, Any] = {"machine": describe_machine(("pydantic", "kafka-python")), "posts": [few, posts], "days": days}
    result["in_process"] = in_process(many, describe(Settings()))
    for parallelism in PARALLELISMS:
        with confined(parallelism), bench() as lab:
            result |= measure(lab, many, few, modes.split(","), parallelism)
    for mode in modes.split(","):
        result[f"scaling_1_to_2_{mode}"] = scaling(result[f"flink_{mode}_1"], result[f"flink_{mode}_2"])
    print(json.dumps(result, indent=None if as_json else 2))


if __name__ == "__main__":
    typer.run(main)
