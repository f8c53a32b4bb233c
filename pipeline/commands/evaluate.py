"""`evaluate sentiment`, `evaluate intent`: the encoder against labelled files."""

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import settings as settings_module
from pipeline.commands.progress import counting

if TYPE_CHECKING:
    from workers.evaluation.metrics import Scores

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
    from workers.encoder import SENTIMENTS
    from workers.evaluation import measure
    from workers.model.transformer import load_encoder

    if picture is not None:
        refuse_unwritable(picture)
    settings = settings_module.load()
    encoder = load_encoder(settings.encoder, settings.cache)
    for path, drawing in zip(files, _drawings(files), strict=True):
        with counting(path.name, "texts") as advance:
            report, scores = measure.sentiment(encoder, path, advance)
        _tell(report | {"revision": encoder.revision}, as_json)
        _draw(picture, drawing, scores, SENTIMENTS)


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
    from workers.evaluation import measure
    from workers.model.transformer import load_encoder

    if picture is not None:
        refuse_unwritable(picture)
    beyond = [] if oos is None else measure.read_unasked(oos)
    settings = settings_module.load()
    encoder = load_encoder(settings.encoder, settings.cache)
    head = None
    if train is not None:
        with counting(train.name, "texts") as advance:
            head = measure.fitted(encoder, train, files, advance)
    unasked = None
    if oos is not None:
        with counting(oos.name, "texts") as advance:
            unasked = measure.answer(encoder, beyond, advance)
    for path, drawing in zip(files, _drawings(files), strict=True):
        with counting(path.name, "texts") as advance:
            report, scores, names = measure.intent(encoder, path, head, unasked, advance)
        _tell(report | {"revision": encoder.revision}, as_json)
        _draw(picture, drawing, scores, names)


def _tell(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report, ensure_ascii=False))
        return
    for name, value in report.items():
        if name not in ("confusion", "classes"):
            typer.echo(f"{name}: {round(value, 4) if isinstance(value, float) else value}")


def _drawings(files: Sequence[Path]) -> list[str]:
    """Return the name of each file's picture; of files that are called alike, the later ones are numbered."""
    found: list[str] = []
    for path in files:
        stem = path.name.partition(".jsonl")[0]
        names = (f"{stem}{'' if number == 1 else f'-{number}'}.confusion.png" for number in count(1))
        found.append(next(name for name in names if name not in found))
    return found


def _draw(folder: Path | None, name: str, scores: "Scores", names: Sequence[str]) -> None:
    if folder is None:
        return
    from workers.evaluation.pictures import confusion_picture

    target = folder / name
    confusion_picture(scores.confusion, names, target)
    typer.echo(f"picture: {target}", err=True)
