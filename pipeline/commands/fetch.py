"""`fetch`: what the local stack is made of, downloaded and verified ahead of the first `up`."""

import typer
from rich.console import Console

from pipeline.settings import load


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(fetch)


def fetch() -> None:
    """Download Kafka, Flink and its connector into the cache, each checked against its hash. `up` does it too."""
    from infra.runtime import flink_connector_jar, flink_python, java_binary, kafka_jars, redis_binary

    console = Console(stderr=True)
    cache = load().cache
    with console.status("fetching Kafka's jars"):
        jars = kafka_jars(cache)
    with console.status("fetching Flink's Kafka connector"):
        connector = flink_connector_jar(cache)
    with console.status("building the Flink environment (about 800 MB)"):
        python = flink_python(cache)
    for name, path in (("java", java_binary()), ("redis", redis_binary()), ("flink", python), ("connector", connector)):
        typer.echo(f"{name}: {path}")
    typer.echo(f"kafka: {len(jars)} jars beside {jars[0]}")
