"""`encode`: texts of a file into vectors, and into sentiment and intents where asked for."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline import settings as settings_module
from pipeline.commands.progress import counting
from pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from workers.encoder import Encodings

_LONGEST_ANSWER: Final = 1 << 20  # bytes


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(encode)


def encode(
    file: Annotated[Path, typer.Argument(help="A text on each line, or JSON lines with a field text; plain or .gz.")],
    out: Annotated[Path, typer.Option(help="The vectors, as a NumPy file (n, 384) of float32.")],
    heads: Annotated[str, typer.Option(help="sentiment, intent or both, with a comma: written beside OUT as JSON lines.")] = "",
) -> None:
    """Encode every text of FILE: vectors, and sentiment and intents where asked for."""
    import numpy as np

    from pipeline.adapters.files import published_file, refuse_target
    from workers.evaluation.measure import answer
    from workers.model.transformer import load_encoder

    wanted = _heads(heads)
    refuse_target(out)
    beside = out.with_suffix(".jsonl")
    if wanted and beside == out:
        raise ConfigurationError(f"--out: {out} is where the answers go; give the vectors a name that ends in .npy")
    _refuse(file, [out, beside] if wanted else [out])
    if wanted:
        refuse_target(beside)
        _refuse_others(beside)
    texts = read_texts(file)
    settings = settings_module.load()
    encoder = load_encoder(settings.encoder, settings.cache)
    with counting("encoding", "texts", len(texts)) as advance:
        measured = answer(encoder, texts, advance)
    with published_file(out) as scratch, scratch.open("wb") as target:
        np.save(target, measured.answers.vectors)
    typer.echo(f"{len(texts)} vectors: {out} ({encoder.revision})")
    if empty := texts.count(""):
        typer.echo(f"{empty} of the texts hold nothing visible; their rows are the answer to an empty text", err=True)
    if wanted:
        with published_file(beside) as scratch:
            scratch.write_text("".join(_lines(measured.answers, wanted)), "utf-8")
        typer.echo(f"answers: {beside}")


def _heads(text: str) -> tuple[str, ...]:
    names = {"sentiment": "sentiment", "intent": "intents", "intents": "intents"}
    asked = [name.strip() for name in text.split(",") if name.strip()]
    if wrong := [name for name in asked if name not in names]:
        raise ConfigurationError(f"--heads = {', '.join(wrong)}; use sentiment, intent or both")
    return tuple(names[name] for name in asked)


def _refuse(file: Path, targets: list[Path]) -> None:
    """Raise ConfigurationError, before any work, where a result would take the place of the texts, or of them unpacked."""
    own = {file.resolve(), file.with_suffix("").resolve()} if file.suffix == ".gz" else {file.resolve()}
    for target in targets:
        if target.resolve() in own:
            raise ConfigurationError(f"--out: {target} would overwrite the texts; give another name")


def _refuse_others(beside: Path) -> None:
    """Raise ConfigurationError where the answers, whose name nobody gave, would take the place of something else."""
    if not beside.exists():
        return
    with beside.open("rb") as file:
        first = file.readline(_LONGEST_ANSWER)
    try:
        keys = set(json.loads(first))
    except (ValueError, TypeError, RecursionError):
        keys = set()
    if not keys or keys - {"sentiment", "intents"}:
        raise ConfigurationError(f"--out: the answers go to {beside}, which holds something else; give OUT another name")


def read_texts(path: Path) -> list[str]:
    """Return what an encoder reads: of the lines of a file, or of the field text of JSON lines. Raises ConfigurationError."""
    from pipeline.adapters import json_lines
    from pipeline.core.text import readable

    if json_lines.has_lines(path):
        texts = [json_lines.text_field(row, "text", where) for where, row in json_lines.read_objects(path)]
    else:
        texts = [text for _, text in json_lines.read_texts(path)]
    if not texts:
        raise ConfigurationError(f"{path}: holds no text; write one a line")
    return [readable(text) for text in texts]


def _lines(answers: "Encodings", wanted: tuple[str, ...]) -> list[str]:
    from workers.encoder import SENTIMENTS

    names = {"sentiment": SENTIMENTS, "intents": answers.intent_names}
    values = {"sentiment": answers.sentiment, "intents": answers.intents}
    lines = []
    for row in range(len(answers.vectors)):
        answer = {
            head: {name: round(float(value), 6) for name, value in zip(names[head], values[head][row], strict=True)}
            for head in wanted
        }
        lines.append(json.dumps(answer, ensure_ascii=False) + "\n")
    return lines
