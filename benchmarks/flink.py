"""The trend operator in Flink against the same operator in process: ``python -m benchmarks.flink --json``.

The same synthetic scored posts go through real Kafka and a real session cluster, for each Python execution mode and
parallelism, and through the in-process host (decoding included) in the same run. Every Flink run is done twice, with few
posts and with many, and the difference is what counts: starting a job costs the same for both. Wall-clock rates suffer from
neighbours on the machine; posts per CPU second (of the task manager and its Python workers together) do less so.

Parallelism n has n cores and no more, for everything: the broker, the job manager, and the task manager with its Python
workers are confined to them. Else one task already uses two cores, with a thread of Java and a process of Python beside the
broker, and a second task finds nothing that is free. The topics are filled before. ``of_its_cores`` is the CPU time of the task
manager and its workers over the time of these cores: the rest is the broker's, and that of neighbours.
``scaling_1_to_2`` is the rate of two tasks over that of one. By the wall clock 2 is linear; by CPU time 1 is: a second task makes
no post dearer. A rate is null where noise is larger than what was to be measured.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.adapters.kafka_streams import KafkaSink
from pipeline.adapters.waiting import wait_until
from pipeline.core.spikes import make_operator
from pipeline.events import ScoredPost
from pipeline.jobs.trends import TrendHost
from pipeline.jobs.trends_job import TrendsJob
from pipeline.jobs.trends_settings import describe
from pipeline.settings import KafkaSettings, Settings, load

FEW = 2_000
TIMEOUT_S = 900.0
CHECKPOINT_MS = 2_000  # a bounded job ends with a checkpoint, so its time is known to this
WORKERS_GONE_S = 30.0
MODES = ("process", "thread")
PARALLELISMS = (1, 2)


class Bench:
    """A broker and a cluster of the benchmark's own."""

    def __init__(self, bootstrap: str, cluster: FlinkCluster) -> None:
        self._bootstrap = bootstrap
        self._cluster = cluster

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

    def run(self, job: TrendsJob) -> tuple[float, float]:
        """Run a bounded job; return its wall-clock seconds and CPU seconds, both with its start.

        Each job has a task manager of its own: a second job in thread mode fails in the same one.
        """
        path = self._cluster.folder / "bench.json"
        path.write_text(job.model_dump_json(), "utf-8")
        with running(self._cluster.task_manager(), str(self._cluster.folder)) as started:
            task_manager = psutil.Process(started.pid)
            job_id = self._cluster.submit(SCRIPT, [str(path)])
            rest = self._cluster.rest()
            rest.wait_for(job_id, "FINISHED", TIMEOUT_S)
            rest.close()
            wait_until(lambda: not task_manager.children(recursive=True), WORKERS_GONE_S)
            return self._duration_s(job_id), _cpu_s(task_manager)

    def _duration_s(self, job_id: str) -> float:
        rest = self._cluster.rest()
        seconds = rest.duration_ms(job_id) / 1000
        rest.close()
        return seconds


def _cpu_s(task_manager: psutil.Process) -> float:
    """Return the CPU seconds of a task manager and of its Python workers that have ended."""
    times = task_manager.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


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
        with running(kafka, folder), running(cluster.job_manager(), folder):
            yield Bench(kafka.bootstrap, cluster)


def in_process(posts: Sequence[ScoredPost], job: TrendsJob) -> dict[str, float]:
    """Return the rate of the in-process host, from bytes to bytes, on one core."""
    payloads = [post.to_json() for post in posts]
    host = TrendHost(make_operator(job.detector), job.detector.out_of_orderness_ms)
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


def measure(lab: Bench, posts: Sequence[ScoredPost], modes: Sequence[str], parallelism: int) -> dict[str, dict[str, Any]]:
    """Return what the execution modes do with as many cores as tasks."""
    found: dict[str, dict[str, Any]] = {}
    small, large = lab.topics_with(posts[:FEW]), lab.topics_with(posts)
    for mode in modes:
        changes = {
            "bounded": True,
            "parallelism": parallelism,
            "execution_mode": mode,
            "checkpoint_interval_ms": CHECKPOINT_MS,
        }
        wall_few, cpu_few = lab.run(describe(small).model_copy(update=changes))
        wall, cpu = lab.run(describe(large).model_copy(update=changes | {"group": uuid4().hex}))
        found[f"flink_{mode}_{parallelism}"] = {
            "posts_per_second": _rate(len(posts) - FEW, wall - wall_few),
            "posts_per_cpu_second": _rate(len(posts) - FEW, cpu - cpu_few),
            "of_its_cores": round((cpu - cpu_few) / (parallelism * (wall - wall_few)), 2) if wall > wall_few else None,
            "start_seconds": round(wall_few, 1),
        }
        typer.echo(json.dumps({f"{mode} {parallelism}": found[f"flink_{mode}_{parallelism}"]}), err=True)
    return found


def main(
    posts: Annotated[int, typer.Option(help="How many scored posts.")] = 60_000,
    days: Annotated[float, typer.Option(help="Over how many days of event time.")] = 6.0,
    modes: Annotated[str, typer.Option(help="Which Python execution modes, with commas.")] = ",".join(MODES),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object last.")] = False,
) -> None:
    """Measure the execution modes at parallelism 1 and 2, with one core and with two."""
    many = stream(entities=80, posts=posts, days=days)
    result: dict[str, Any] = {"machine": describe_machine(("pydantic", "kafka-python")), "posts": posts, "days": days}
    result["in_process"] = in_process(many, describe(Settings()))
    for parallelism in PARALLELISMS:
        with confined(parallelism), bench() as lab:
            result |= measure(lab, many, modes.split(","), parallelism)
    for mode in modes.split(","):
        result[f"scaling_1_to_2_{mode}"] = scaling(result[f"flink_{mode}_1"], result[f"flink_{mode}_2"])
    print(json.dumps(result, indent=None if as_json else 2))


if __name__ == "__main__":
    typer.run(main)
