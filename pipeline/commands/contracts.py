"""`schema`: the wire contracts as JSON Schema, and what a webhook about several alerts carries."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.adapters.files import published_file, refuse_unwritable
from pipeline.events import AlertGroup
from pipeline.topics import TOPICS


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(schema)


def schema(
    out: Annotated[Path | None, typer.Option(help="Write one file for each into this folder.")] = None,
) -> None:
    """Print the JSON Schema of every topic's records and of a webhook's alert group, or write one file for each."""
    contracts = {topic.name: topic.contract for topic in TOPICS} | {"alert-group": AlertGroup}
    schemas = {name: contract.model_json_schema(mode="serialization") for name, contract in contracts.items()}
    if out is None:
        typer.echo(json.dumps(schemas, indent=2, ensure_ascii=False))
        return
    refuse_unwritable(out)
    for name, document in schemas.items():
        with published_file(out / f"{name}.schema.json") as scratch:
            scratch.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
        typer.echo(f"{name}: {out / f'{name}.schema.json'}")
