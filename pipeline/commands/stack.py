"""`up`, `down`, `status`: the local stack without Docker."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

from pipeline import settings as settings_module
from pipeline.errors import ConfigurationError
from pipeline.settings import ENV_PREFIX, Settings

if TYPE_CHECKING:
    from infra.home import Home
    from infra.stack import Tell
    from pipeline.commands.stack_status import Report

HomeOption = Annotated[Path | None, typer.Option(help="Folder of the stack: data, logs, configuration.")]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which parts of the stack are wanted."""

    workers: int
    flink: bool
    notifier: bool
    replay_trends: bool


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    home: HomeOption = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Worker processes; default GROUNDSWELL_STACK__WORKERS or 1.")] = None,
    flink: Annotated[bool, typer.Option(help="Flink and the trends job in it.")] = True,
    notifier: Annotated[bool, typer.Option(help="The process that sends alerts.")] = True,
    replay_trends: Annotated[bool, typer.Option("--replay-trends", help="Compute trends from the beginning again.")] = False,
) -> None:
    """Start Kafka, Redis and Flink without Docker, make the topics, then start workers, trends job and notifier.

    What runs already is left alone, what died is started again. The first time fetches about 900 MB of software.
    """
    from infra.home import Home

    settings = settings_module.load(home)
    _refuse_foreign_endpoints()
    chosen = Chosen(settings.stack.workers if workers is None else workers, flink, notifier, replay_trends)
    console = Console(stderr=True)
    place = Home(settings.home)
    with place.exclusive(), console.status("starting") as spinner:
        _bring_up(place, settings, chosen, console, spinner)
    console.print(f"The stack in {place.folder} is up. Next: groundswell status", highlight=False, soft_wrap=True)


def down(home: HomeOption = None) -> None:
    """Stop everything that `up` started. Data and ports stay for the next `up`."""
    from infra.home import Home
    from infra.stack import bring_down

    console = Console(stderr=True)
    place = Home(settings_module.load(home).home)
    if not place.read():
        console.print(f"nothing to stop: no stack was ever started in {place.folder}", highlight=False, soft_wrap=True)
        return
    with place.exclusive(), console.status("stopping"):
        bring_down(place, lambda line: console.print(f"  {line}", highlight=False, soft_wrap=True))
        place.retire()
    console.print(f"The stack in {place.folder} is down; its data stay.", highlight=False, soft_wrap=True)


def status(
    home: HomeOption = None, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
) -> None:
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


def _bring_up(place: "Home", settings: Settings, chosen: Chosen, console: Console, spinner: Status) -> None:
    from infra import stack

    def tell(line: str) -> None:
        console.print(f"  {line}", highlight=False, soft_wrap=True)

    ports, timeout_s = place.ports(settings.stack), settings.stack.start_timeout_s
    spinner.update("fetching what is not here yet: Java, Kafka, Redis")
    services = stack.kafka_and_redis(place, settings, ports)
    cluster = None
    if chosen.flink:
        spinner.update("building Flink's environment, if it is not here yet")
        cluster = stack.flink_cluster(place, settings, ports)
        services += stack.flink_services(cluster)
    spinner.update(f"starting {', '.join(service.name for service in services)}")
    stack.bring_up(place, services, timeout_s, tell)
    place.publish(ports)
    settings = settings_module.load(place.folder)
    spinner.update("making topics")
    _make_topics(settings, tell)
    if chosen.workers:
        spinner.update("fetching or checking the model")
        _have_model(settings, tell)
    readers = stack.worker_services(place, settings, chosen.workers)
    readers += [stack.notifier_service(place, settings)] if chosen.notifier else []
    spinner.update(f"starting {', '.join(service.name for service in readers)}")
    stack.bring_up(place, readers, timeout_s, tell)


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
    from workers import model_store

    _, manifest, downloaded = model_store.fetch(settings.encoder.model, settings.cache, "auto")
    tell(f"model: {manifest.name} {'fetched' if downloaded else 'checked'}")


def _refuse_foreign_endpoints() -> None:
    """Raise where the environment points at servers that are not this stack's: `up` would start others beside them."""
    for name in ("KAFKA__BOOTSTRAP", "REDIS__URL"):
        if os.environ.get(f"{ENV_PREFIX}{name}"):
            raise ConfigurationError(
                f"{ENV_PREFIX}{name} is set, so that nothing would use the servers of `up`; run: unset {ENV_PREFIX}{name}"
            )


def _show(found: "Report") -> None:
    table = Table()
    for column in ("service", "state", "detail"):
        table.add_column(column)
    for service in found.services:
        colour = "green" if service.ok else "red"
        table.add_row(service.name, f"[{colour}]{service.state}[/]", service.detail)
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
        console.print(f"[red]the equation does not hold:[/] {problem}", highlight=False, soft_wrap=True)
