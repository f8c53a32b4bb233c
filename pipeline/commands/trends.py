"""`trends`: scored posts in, trends and alerts out; in the stack's Flink, or in this process."""

import shlex
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer
from rich.console import Console

from pipeline import settings as settings_module
from pipeline.commands.options import HomeOption
from pipeline.errors import ConfigurationError
from pipeline.settings import ENV_PREFIX, KafkaSettings, Settings

if TYPE_CHECKING:
    from pipeline.jobs.trends_job import TrendsJob


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(trends)


def trends(
    home: HomeOption = None,
    flink: Annotated[bool, typer.Option("--flink/--in-process", help="Where the operator runs.")] = True,
    from_beginning: Annotated[bool, typer.Option("--from-beginning", help="Forget the state and read all posts again.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Write the job's state and stop it.")] = False,
) -> None:
    """Find sentiment trends and alerts. In Flink, the job is submitted once and goes on from its last state.

    A source that goes quiet (the end of a replayed file) closes the last panes after GROUNDSWELL_TRENDS__IDLENESS_MS.
    """
    settings = settings_module.load(home)
    if not flink:
        if stop or from_beginning:
            raise ConfigurationError("--in-process always reads from the beginning and ends with Ctrl-C; drop the other option")
        _run_here(settings, home)
    elif stop:
        _stop(settings)
    else:
        _submit(settings, home, from_beginning)


def _submit(settings: Settings, home: Path | None, from_beginning: bool) -> None:
    from infra.flink_job import ensure_running
    from infra.home import Home
    from infra.stack import flink_cluster, running_cluster
    from pipeline.jobs.trends_settings import describe

    place = Home(settings.home)
    if running_cluster(place) is None:
        raise _no_stack()
    job = describe(settings)
    refuse_missing_topics(settings.kafka, job, home)
    with place.exclusive(), Console(stderr=True).status("submitting the trends job"):
        cluster = flink_cluster(place, settings, place.ports(settings.stack))
        submitted = ensure_running(cluster, job, settings.stack.start_timeout_s, from_beginning=from_beginning)
    how = f"submitted, from {submitted.resumed_from or 'the beginning'}" if submitted.fresh else "runs already"
    typer.echo(f"trends job {submitted.job_id}: {how}")


def _stop(settings: Settings) -> None:
    from infra.flink_job import stop_with_savepoint
    from infra.home import Home
    from infra.stack import running_cluster
    from pipeline.jobs.trends_settings import describe

    place = Home(settings.home)
    cluster = running_cluster(place)
    if cluster is None:
        raise _no_stack()
    with place.exclusive(), Console(stderr=True).status("writing the job's state"):
        savepoint = stop_with_savepoint(cluster, describe(settings))
    typer.echo("the trends job was not running" if savepoint is None else f"stopped; its state: {savepoint}")


def _no_stack() -> ConfigurationError:
    return ConfigurationError("no stack with Flink was started here; run: groundswell up (or use: trends --in-process)")


def refuse_missing_topics(kafka: KafkaSettings, job: "TrendsJob", home: Path | None) -> None:
    """Raise ConfigurationError where a topic that the job reads or writes does not exist.

    Flink would start its tasks again and again, and tell of it only in a trace when the start's time is over.
    """
    from pipeline.adapters.kafka_admin import KafkaAdmin

    with KafkaAdmin(kafka) as admin:
        missing = admin.missing((job.scored, job.trends, job.alerts, job.late, job.dead_letters))
    if missing:
        prefix, at = f"{ENV_PREFIX}KAFKA__TOPIC_PREFIX", f" --home {shlex.quote(str(home))}" if home is not None else ""
        what = f"{prefix} = {kafka.topic_prefix!r}: Kafka at {kafka.bootstrap} has no topic {', '.join(missing)}"
        raise ConfigurationError(what, f"create it: {prefix}={shlex.quote(kafka.topic_prefix)} groundswell provision{at}")


def _run_here(settings: Settings, home: Path | None) -> None:
    import structlog

    from pipeline.adapters.health import HealthServer
    from pipeline.adapters.kafka_sink import KafkaSink
    from pipeline.adapters.kafka_source import KafkaSource
    from pipeline.adapters.stopping import stop_on_signals
    from pipeline.adapters.time_ordered import TimeOrderedSource
    from pipeline.clock import wall_clock_ms
    from pipeline.jobs.trends import make_host
    from pipeline.jobs.trends_live import LiveTrends
    from pipeline.jobs.trends_settings import describe
    from pipeline.telemetry import Metrics, setup_logging

    setup_logging(settings.log_format, settings.log_level)
    job = describe(settings)
    refuse_missing_topics(settings.kafka, job, home)
    host = make_host(job.detector)
    group = f"{job.group}.in-process.{uuid4()}"  # never committed: the state lives as long as the process
    metrics, at = Metrics(), settings.trends
    with (
        closing(KafkaSource(settings.kafka, group, [job.scored], metrics)) as source,
        closing(KafkaSink(settings.kafka)) as sink,
    ):
        live = LiveTrends(TimeOrderedSource(source), sink, host, job, wall_clock_ms, metrics)
        with HealthServer(metrics, live.readiness, at.metrics_host, at.metrics_port) as health:
            structlog.get_logger().info("trends_started", topic=job.scored, reads_from="beginning", metrics_port=health.port)
            live.run(stop_on_signals())
