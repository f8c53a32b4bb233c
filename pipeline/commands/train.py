"""`train`: fine-tune the trunk and its heads from one YAML file; a killed run goes on where it stopped."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline import settings as settings_module


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(train)


def train(
    config: Annotated[Path, typer.Argument(help="The run, as YAML; workers/recipes holds the shipped one.")],
    out: Annotated[Path | None, typer.Option(help="Where checkpoints and weights go.")] = None,
    intents: Annotated[Path | None, typer.Option(help="Examples of intents (YAML); without it the default set.")] = None,
) -> None:
    """Train from CONFIG with the data of `settings.data`, and publish OUT/weights."""
    from workers.run_training import DEFAULT_INTENTS, run

    settings = settings_module.load()
    folder = out or settings.cache / "runs" / config.stem
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=None)

        def show(step: int, steps: int, note: str) -> None:
            bar.update(task, completed=step, total=steps, description=note)

        def tell(line: str) -> None:
            console.print(line, highlight=False)

        weights = run(config, intents or DEFAULT_INTENTS, settings, folder, (show, tell))
    typer.echo(f"weights: {weights} (use them with GROUNDSWELL_ENCODER__WEIGHTS={weights})")
