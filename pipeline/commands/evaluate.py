"""`evaluate sentiment`, `evaluate intent`: the encoder against labelled files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import settings as settings_module
from pipeline.commands.progress import counting

if TYPE_CHECKING:
    from workers.metrics import Scores

Files = Annotated[list[Path], typer.Argument(help="JSON lines of {text, label}, plain or .gz.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a file.")]
Picture = Annotated[Path | None, typer.Option(help="Draw the confusion matrix of each file into this folder.")]
evaluate = typer.Typer(name="evaluate", no_args_is_help=True, help="Measure the encoder on labelled files.")


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.add_typer(evaluate)


@evaluate.command()
def sentiment(files: Files, as_json: AsJson = False, picture: Picture = None) -> None:
    """Score the sentiment of each file; where no row is neutral, neutral is ruled out."""
    from pipeline.adapters.files import refuse_unwritable
    from workers import evaluation
    from workers.encoder import SENTIMENTS
    from workers.transformer import load_encoder

    if picture is not None:
        refuse_unwritable(picture)
    settings = settings_module.load()
    encoder = load_encoder(settings.encoder, settings.cache)
    for path in files:
        with counting(path.name, "texts") as advance:
            report, scores = evaluation.sentiment(encoder, path, advance)
        _tell(report | {"revision": encoder.revision}, as_json)
        _draw(picture, path, scores, SENTIMENTS)


@evaluate.command()
def intent(
    files: Files,
    train: Annotated[Path | None, typer.Option(help="Fit a head on this file first.")] = None,
    oos: Annotated[Path | None, typer.Option(help="Rows that belong to no intent.")] = None,
    as_json: AsJson = False,
    picture: Picture = None,
) -> None:
    """Score the intents of each file, with the shipped head or one that is fitted first."""
    from pipeline.adapters.files import refuse_unwritable
    from workers import evaluation
    from workers.transformer import load_encoder

    if picture is not None:
        refuse_unwritable(picture)
    settings = settings_module.load()
    encoder = load_encoder(settings.encoder, settings.cache)
    head = None
    if train is not None:
        with counting(train.name, "texts") as advance:
            head = evaluation.fitted(encoder, train, files, advance)
    for path in files:
        with counting(path.name, "texts") as advance:
            report, scores, names = evaluation.intent(encoder, path, head, oos, advance)
        _tell(report | {"revision": encoder.revision}, as_json)
        _draw(picture, path, scores, names)


def _tell(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    for name, value in report.items():
        if name not in ("confusion", "classes"):
            typer.echo(f"{name}: {round(value, 4) if isinstance(value, float) else value}")


def _draw(folder: Path | None, path: Path, scores: "Scores", names: Sequence[str]) -> None:
    if folder is None:
        return
    from workers.pictures import confusion_picture

    target = folder / f"{path.name.partition('.jsonl')[0]}.confusion.png"
    confusion_picture(scores.confusion, names, target)
    typer.echo(f"picture: {target}", err=True)
