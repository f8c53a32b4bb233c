"""`demo`: everything in one process, with something to look at, and no server."""

import secrets
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipeline import settings as settings_module
from pipeline.adapters.stopping import interrupting
from pipeline.commands.options import EncoderChoice, EncoderOption
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings
from pipeline.telemetry import setup_logging

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.demo.frames import View
    from pipeline.inprocess import Incoming
    from workers.encoder import Encoder

INTERRUPTED = 130
PLAIN_WIDTH = 110  # of what is no terminal


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for summary.json, alerts.jsonl and the pictures.")] = Path(".demo"),
    seed: Annotated[int, typer.Option(help="Seed of the synthetic world.")] = 7,
    live: Annotated[bool, typer.Option("--live/--no-live", help="Live view; without a terminal there is none.")] = True,
    posts: Annotated[
        Path | None, typer.Option(help="Recorded posts in place of synthetic ones: JSON lines, plain or .gz.")
    ] = None,
    mapping: Annotated[Path | None, typer.Option("--map", help="Mapping file, where the lines are no SocialPosts.")] = None,
    encoder: EncoderOption = EncoderChoice.TRANSFORMER,
) -> None:
    """Score posts, move profiles, find a spike of bad mood, send signed webhooks: in this process, without a server.

    Recorded lines may name one "entity" in place of "entities"; language and source may be missing.
    """
    from pipeline.demo.inputs import synthetic_config
    from pipeline.demo.planted import judge
    from pipeline.demo.report import print_report
    from pipeline.demo.run import Demo
    from producers.synthetic import truth
    from workers.rules import system_clock

    settings = settings_module.load()
    _prepare(out)
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    setup_logging(settings.log_format, settings.log_level)
    records, source = _records(seed, posts, mapping)
    model = _encoder(encoder, settings, console)
    secret = "whsec_" + b64encode(secrets.token_bytes(24)).decode()
    run = Demo(model, settings, system_clock(), secret)
    with interrupting(run.stop), _view(console, live, f"{source}, encoder {model.model}") as view:
        summary = run.run(records, view, out)
    findings = judge(truth(synthetic_config(seed)), run.alerts) if posts is None and summary.complete else ()
    print_report(run, summary, findings, console, out)
    if not summary.complete:
        raise typer.Exit(INTERRUPTED)
    if not summary.is_good():
        raise typer.Exit(1)


def _prepare(out: Path) -> None:
    """Make the folder before the work, not after it; the summary of an earlier run goes, so that none lies of this one."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.json").unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--out {out} cannot be written ({error.strerror}); name a folder that can") from error


def _records(seed: int, posts: Path | None, mapping: Path | None) -> "tuple[Iterable[Incoming], str]":
    """Return what is fed, and its name. A file that cannot be read is known here, before the encoder is loaded."""
    from pipeline.demo.inputs import begun, recorded, synthetic
    from producers.mapping import load_mapping

    if posts is None:
        return synthetic(seed), f"synthetic posts and clicks, seed {seed}"
    return begun(recorded(posts, None if mapping is None else load_mapping(mapping))), posts.name


def _encoder(choice: EncoderChoice, settings: Settings, console: Console) -> "Encoder":
    """Return the encoder; the real one fetches its model first where it is missing."""
    from workers.hosting import load_encoder
    from workers.model import model_store

    if choice is EncoderChoice.TRANSFORMER:
        with console.status(f"{settings.encoder.model}: checking; the first time about 500 MB are fetched or built"):
            model_store.fetch(settings.encoder.model, settings.cache, "auto")
    with console.status("loading the encoder"):
        return load_encoder(choice.value, settings)


@contextmanager
def _view(console: Console, live: bool, head: str) -> "Iterator[View]":
    """Show the live view on a terminal; otherwise a line for every ten seconds."""
    from pipeline.demo.view import LiveView, PlainView

    if live and console.is_terminal:
        with LiveView(console, head) as view:
            yield view
    else:
        console.print(f"groundswell demo: {head}", highlight=False, markup=False)
        yield PlainView(console)
