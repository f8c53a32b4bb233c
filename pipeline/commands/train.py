"""`train`: fine-tune the trunk and its heads from one YAML file; a killed run goes on where it stopped."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import settings as settings_module
from pipeline.commands.progress import telling


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(train)


def train(
    config: Annotated[Path, typer.Argument(help="The run, as YAML; workers/recipes holds the shipped one.")],
    out: Annotated[Path | None, typer.Option(help="Where checkpoints and weights go.")] = None,
    intents: Annotated[Path | None, typer.Option(help="Examples of intents (YAML); without it the default set.")] = None,
) -> None:
    """Train from CONFIG with the data in the folder GROUNDSWELL_DATA, and publish OUT/weights."""
    from workers.run_training import DEFAULT_INTENTS, run

    settings = settings_module.load()
    folder = out or settings.cache / "runs" / config.stem
    with telling("training", "steps") as teller:
        weights = run(config, intents or DEFAULT_INTENTS, settings, folder, (teller.show, teller.tell))
    typer.echo(f"weights: {weights} (use them with GROUNDSWELL_ENCODER__WEIGHTS={weights})")
