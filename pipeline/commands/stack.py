"""`up`, `down`, `status`: the local stack without Docker."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from pipeline import settings as settings_module
from pipeline.commands.options import EncoderChoice, EncoderOption, HomeOption, JsonOption
from pipeline.environment import setters
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.settings import ENV_PREFIX, Settings

if TYPE_CHECKING:
    from infra.flink_cluster import FlinkCluster
    from infra.flink_job import RunningCluster
    from infra.home import Home
    from infra.stack import Tell
    from pipeline.commands.stack_status import Report

REASON_CHARS: Final = 200
NEEDED_FOR_A_SAVEPOINT: Final = ("flink-jobmanager", "flink-taskmanager", "kafka")  # without a broker it is tried for minutes


class Anew(StrEnum):
    """What `up` may begin again instead of going on with it."""

    TRENDS = "trends"
    PROFILES = "profiles"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which parts of the stack are wanted."""

    workers: int
    work_options: tuple[str, ...]
    flink: bool
    notifier: bool
    replay_trends: bool


@dataclass(frozen=True, slots=True)
class Say:
    """Where progress goes: what is being done now, and a line for each thing that is done."""

    console: Console
    spinner: Status

    def doing(self, what: str) -> None:
        """Show what takes time now."""
        self.spinner.update(what)

    def done(self, line: str) -> None:
        """Print what has happened."""
        self.console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    home: HomeOption = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes; default GROUNDSWELL_STACK__WORKERS or 1.")] = None,
    encoder: EncoderOption = EncoderChoice.TRANSFORMER,
    flink: Annotated[bool, typer.Option(help="Flink and the trends job in it.")] = True,
    notifier: Annotated[bool, typer.Option(help="The process that sends alerts.")] = True,
    anew: Annotated[
        list[Anew] | None, typer.Option(help="trends: compute them from the beginning; profiles: drop those of another model.")
    ] = None,
) -> None:
    """Start Kafka, Redis and Flink without Docker, make the topics, then start workers, trends job and notifier.

    What runs already is left alone, what died is started again. The first time fetches Kafka and builds Flink's environment
    (about 800 MB on disk), and fetches the model.
    """
    from infra.home import Home, refuse_unserved_path

    settings = settings_module.load(home)
    _refuse_foreign_endpoints()
    number = settings.stack.workers if workers is None else workers
    work_options = ("--encoder", encoder.value, *(["--restart-profiles"] if Anew.PROFILES in (anew or ()) else ()))
    chosen = Chosen(number, work_options, flink, notifier, Anew.TRENDS in (anew or ()))
    console = Console(stderr=True)
    place = Home(settings.home)
    refuse_unserved_path(place.folder, "--home")
    refuse_unserved_path(settings.cache, f"{ENV_PREFIX}CACHE")
    with place.exclusive(), console.status("starting") as spinner:
        _bring_up(place, settings, chosen, Say(console, spinner))
    console.print(f"The stack in {place.folder} is up. Next: groundswell status", highlight=False, soft_wrap=True)


def down(home: HomeOption = None) -> None:
    """Stop everything that `up` started. Data and ports stay for the next `up`."""
    from infra.home import Home

    settings = settings_module.load(home)
    console = Console(stderr=True)
    place = Home(settings.home)
    if not place.read() and not place.started():
        console.print(f"nothing to stop: no stack was ever started in {place.folder}", highlight=False, soft_wrap=True)
        return
    with place.exclusive(), console.status("stopping") as spinner:
        _bring_down(place, settings, Say(console, spinner))
    console.print(f"The stack in {place.folder} is down; its data stay.", highlight=False, soft_wrap=True)


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show each service, and whether accepted = scored + dead letters + in flight. Exit code 1 when something is wrong."""
    from infra.home import Home
    from pipeline.commands.stack_status import report

    settings = settings_module.load(home)
    found = report(Home(settings.home), settings)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
    else:
        _show(found)
    if not found.healthy:
        raise typer.Exit(1)


def _bring_up(place: "Home", settings: Settings, chosen: Chosen, say: "Say") -> None:
    from infra import stack

    _refuse_anew_beside_running_workers(place, chosen)
    ports, timeout_s = place.ports(settings.stack), settings.stack.start_timeout_s
    say.doing("fetching what is not here yet: Java, Kafka, Redis")
    services = stack.kafka_and_redis(place, settings, ports)
    cluster = None
    if chosen.flink:
        say.doing("building Flink's environment, if it is not here yet")
        cluster = stack.flink_cluster(place, settings, ports)
        services += stack.flink_services(cluster)
    say.doing(f"starting {', '.join(service.name for service in services)}")
    stack.refuse_taken_ports(place, services)
    place.publish(ports)  # before the start: however that ends, status, doctor and down find what was started
    stack.bring_up(place, services, timeout_s, say.done)
    place.update(stopped=[])
    settings = settings_module.load(place.folder)
    say.doing("making topics")
    _make_topics(settings, say.done)
    if cluster is not None:
        say.doing("starting the trends job")
        _run_trends(cluster, settings, chosen, say.done)
    if chosen.workers and "fake" not in chosen.work_options:
        say.doing("fetching or checking the model")
        _have_model(settings, say.done)
    readers = stack.worker_services(place, settings, chosen.workers, chosen.work_options)
    readers += [stack.notifier_service(place, settings)] if chosen.notifier else []
    say.doing(f"starting {', '.join(service.name for service in readers)}")
    stack.bring_up(place, readers, timeout_s, say.done)


def _bring_down(place: "Home", settings: Settings, say: "Say") -> None:
    """Stop readers first, then the trends job with its state kept, then the servers."""
    from infra import stack
    from infra.processes import is_alive

    started = place.started()
    readers = [name for name in started if name.startswith(("worker", "notifier"))]
    stack.bring_down(place, say.done, readers)
    cluster, alive = stack.running_cluster(place), {name for name, process in started.items() if is_alive(process)}
    if cluster is not None and alive.issuperset(NEEDED_FOR_A_SAVEPOINT):
        _stop_trends(cluster, settings, say)
    elif "flink-jobmanager" in alive:
        say.done("trends: stopped without a savepoint, as not all runs that writes one; its last checkpoint serves as well")
    stack.bring_down(place, say.done)
    stack.sweep(place, say.done)
    place.retire()


def _run_trends(cluster: "FlinkCluster", settings: Settings, chosen: Chosen, tell: "Tell") -> None:
    from infra.flink_job import ensure_running
    from pipeline.jobs.trends_settings import describe

    job = describe(settings)
    submitted = ensure_running(cluster, job, settings.stack.start_timeout_s, from_beginning=chosen.replay_trends)
    origin = "from the beginning" if submitted.resumed_from is None else f"from {Path(submitted.resumed_from).name}"
    tell(f"trends: {f'job {submitted.job_id} runs, {origin}' if submitted.fresh else 'runs already'}")


def _stop_trends(cluster: "RunningCluster", settings: Settings, say: "Say") -> None:
    from infra.flink_job import stop_with_savepoint
    from pipeline.jobs.trends_settings import describe

    say.doing("writing the state of the trends job")
    try:
        savepoint = stop_with_savepoint(cluster, describe(settings))
    except (Unavailable, OSError) as problem:  # as where the disk is full: the servers must stop all the same
        say.done(f"trends: stopped without a savepoint, its last checkpoint serves as well ({str(problem)[:REASON_CHARS]})")
        return
    say.done("trends: was not running" if savepoint is None else f"trends: stopped at {Path(savepoint).name}")


def _make_topics(settings: Settings, tell: "Tell") -> None:
    from infra.provision import expected_topics, provision
    from pipeline.adapters.kafka_admin import KafkaAdmin

    expected = expected_topics(settings.kafka.topic_prefix, settings.kafka.replication_factor)
    with KafkaAdmin(settings.kafka) as admin:
        done, differing = provision(admin, expected, apply=False)
    tell(f"topics: {len(done)} created, {len(expected) - len(done)} were there")
    for each in differing:
        tell(f"topic {each.topic}: {each.property} is {each.found}, not {each.expected}; {each.fix}")


def _have_model(settings: Settings, tell: "Tell") -> None:
    from workers.model import model_store

    _, manifest, downloaded = model_store.fetch(settings.encoder.model, settings.cache, "auto")
    tell(f"model: {manifest.name} {'fetched' if downloaded else 'checked'}")


def _refuse_anew_beside_running_workers(place: "Home", chosen: Chosen) -> None:
    """Raise where profiles should begin again and a worker runs, which is left alone and would not hear of it."""
    from infra.processes import is_alive

    running = [name for name, process in place.started().items() if name.startswith("worker") and is_alive(process)]
    if running and "--restart-profiles" in chosen.work_options:
        what = f"--anew profiles: {', '.join(running)} runs already, and only a worker that starts begins them again"
        raise ConfigurationError(what, "end it first: groundswell down")


def _refuse_foreign_endpoints() -> None:
    """Raise where the environment points at servers that are not this stack's: `up` would start others beside them."""
    for group, field in (("kafka", "bootstrap"), ("redis", "url")):
        if found := setters(group, field):
            names = " ".join(found)
            what = f"{names} sets {group}.{field}, so that nothing would use the servers of `up`"
            raise ConfigurationError(what, f"leave {field} out, or run: unset {names}")


def _show(found: "Report") -> None:
    table = Table()
    for column in ("service", "state", "detail"):
        table.add_column(column, overflow="fold")
    for service in found.services:
        colour = "green" if service.ok else "red"
        table.add_row(service.name, f"[{colour}]{service.state}[/]", escape(service.detail))
    console = Console()
    console.print(table)
    account = found.account
    if account is None:
        return
    console.print(
        f"accepted {account.accepted:,} = scored {account.scored:,} + dead letters {account.dead_letters:,} "
        f"+ in flight {account.in_flight:,}; lag {account.lag:,}",
        highlight=False,
    )
    for problem in account.problems:
        console.print(f"[red]the equation does not hold:[/] {escape(problem)}", highlight=False, soft_wrap=True)
