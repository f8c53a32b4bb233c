"""`train`: fine-tune the trunk and its heads from one YAML file; `teach`: let a bigger model help. Killed runs go on."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline import settings as settings_module
from pipeline.commands.progress import telling
from pipeline.errors import ConfigurationError


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(train)
    app.command()(teach)


def train(
    config: Annotated[Path, typer.Argument(help="The run, as YAML; workers/recipes holds the shipped one.")],
    out: Annotated[Path | None, typer.Option(help="Where checkpoints and weights go.")] = None,
    intents: Annotated[Path | None, typer.Option(help="Examples of intents (YAML); without it the default set.")] = None,
    start: Annotated[Path | None, typer.Option(help="Published weights to go on from; without them the base.")] = None,
) -> None:
    """Train from CONFIG with the data in the folder GROUNDSWELL_DATA, and publish OUT/weights."""
    from workers.training.run import DEFAULT_INTENTS, run

    settings = settings_module.load()
    folder = out or settings.cache / "runs" / config.stem
    with telling("training", "steps") as teller:
        weights = run(config, intents or DEFAULT_INTENTS, settings, folder, (teller.show, teller.tell), start)
    typer.echo(f"weights: {weights} (use them with GROUNDSWELL_ENCODER__WEIGHTS={weights})")


def teach(
    config: Annotated[Path, typer.Argument(help="A training recipe.")],
    teacher: Annotated[Path, typer.Argument(help="Folder of a model that transformers can read, in safetensors.")],
    out: Annotated[Path, typer.Option(help="Where SET.jsonl.gz go, for `taught` of a recipe.")],
    sets: Annotated[list[str] | None, typer.Option("--set", help="A sentiment set; without it all.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="How often it reads what it learns from.")] = 3,
    rate: Annotated[float, typer.Option(help="The highest learning rate.")] = 1e-4,
) -> None:
    """Fine-tune TEACHER on the sentiment sets of CONFIG and write what it says of every training text while kept from it."""
    from workers.training.run_teaching import Plan, teach
    from workers.training.teacher import Course

    if not 0 < rate <= 1:
        raise ConfigurationError(f"--rate = {rate}; a learning rate is above 0 and at most 1, say 1e-4")
    plan = Plan(teacher, tuple(sets or ()), Course(epochs=epochs, rate=rate))
    with telling("teaching", "texts") as teller:
        scores = teach(config, plan, settings_module.load(), out, (teller.show, teller.tell))
    for name, found in scores.items():
        typer.echo(f"{name}: " + ", ".join(f"{key} {value}" for key, value in found.items()))
