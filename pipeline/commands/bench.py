"""`bench encode`: the encoder beside what others would run, on the same texts."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import ConfigurationError


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    bench = typer.Typer(no_args_is_help=True, help="Measure speed; needs a source checkout with the bench group installed.")
    bench.command()(encode)
    bench.callback()(_group)
    app.add_typer(bench, name="bench")


def encode(
    texts: Annotated[
        Path | None, typer.Option(help="A text on each line, or JSON lines; else stocknet_2014 and zh_guba.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many texts.")] = 600,
    rounds: Annotated[int, typer.Option(min=1, help="How many turns each contestant takes; the fastest counts.")] = 3,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Annotated[Path | None, typer.Option(help="Write table and picture into this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare our modes with sentence-transformers, ONNX Runtime and plain transformers, one core or GPU each."""
    try:
        from benchmarks import encode as benchmark
    except ImportError as error:
        raise ConfigurationError(
            f"bench needs a source checkout and its bench group ({error}); run `make setup` in one"
        ) from error
    arguments = ["--count", str(count), "--rounds", str(rounds), "--device", device]
    arguments += ["--texts", str(texts)] if texts else []
    arguments += ["--out", str(out)] if out else []
    benchmark.main(arguments + (["--json"] if as_json else []))


def _group() -> None:
    """Keep the group, though it has one verb."""
