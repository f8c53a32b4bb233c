"""`provision`: topics from the one table, created or verified."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline import settings as settings_module
from pipeline.commands.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from infra.provision import Difference


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(provision)


def provision(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit code 1 where something differs.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Also set differing retention, cleanup and size limits.")] = False,
    as_json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Create the topics, or verify them and say exactly what differs. Partitions of a topic that exists are never changed."""
    from infra.provision import differences, expected_topics
    from infra.provision import provision as bring_about
    from pipeline.adapters.kafka_admin import KafkaAdmin

    kafka = settings_module.load(home).kafka
    expected = expected_topics(kafka.topic_prefix, kafka.replication_factor)
    with KafkaAdmin(kafka) as admin:
        if check:
            done: list[str] = []
            differing = differences(expected, admin.describe(topic.name for topic in expected))
        else:
            done, differing = bring_about(admin, expected, apply=apply)
    if as_json:
        report = {"bootstrap": kafka.bootstrap, "topics": len(expected), "done": done}
        typer.echo(json.dumps(report | {"differences": [each.as_dict() for each in differing]}))
    else:
        _show(kafka.bootstrap, len(expected), done, differing)
    if differing:
        raise typer.Exit(1)


def _show(bootstrap: str, topics: int, done: "list[str]", differing: "list[Difference]") -> None:
    console = Console()
    for line in done:
        console.print(line, highlight=False, markup=False)
    if not differing:
        console.print(f"{topics} topics on {bootstrap} are as the table says", highlight=False)
        return
    table = Table(title=f"Differences on {bootstrap}", title_justify="left")
    for column in ("topic", "property", "expected", "found"):
        table.add_column(column, overflow="fold")
    for each in differing:
        table.add_row(*map(escape, (each.topic, each.property, each.expected, each.found)))
    console.print(table)
    for fix in dict.fromkeys(each.fix for each in differing):
        console.print(f"fix: {fix}", highlight=False, markup=False, soft_wrap=True)
