"""`produce`: records into Kafka, from files or from a synthetic world."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import settings as settings_module
from pipeline.adapters.stopping import interrupting
from pipeline.clock import wall_clock_ms
from pipeline.commands.options import MAX, HomeOption, JsonOption, SpeedOption, parse_speed, parse_time
from pipeline.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from producers.mapping import FieldMapping
    from producers.place import Place
    from producers.publish import Options, Publisher
    from producers.rejects import RejectFile
    from producers.synthetic import SyntheticConfig

STOPPED = 130
MapFile = Annotated[Path, typer.Option("--map", help="YAML file that maps columns to fields; see examples/.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    group = typer.Typer(help="Send records: from a file, or from a synthetic world.", no_args_is_help=True)
    group.command("file")(file)
    group.command("sort")(sort)
    group.command("synthetic")(synthetic)
    app.add_typer(group, name="produce")


def file(  # noqa: PLR0913 - one parameter an option
    path: Annotated[Path, typer.Argument(help="JSON lines, CSV or Parquet; each also gzipped.")],
    map_: MapFile,
    speed: SpeedOption = MAX,
    limit: Annotated[int | None, typer.Option(min=1, help="Take at most so many rows.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run of this file ended.")] = False,
    tolerance_ms: Annotated[int, typer.Option(min=0, help="How far rows may lie out of event-time order.")] = 0,
    allow_unordered: Annotated[bool, typer.Option("--allow-unordered", help="Count rows out of order, send them.")] = False,
    rejects: Annotated[
        Path | None, typer.Option(show_default="HOME/produce/NAME.ID.rejects.jsonl", help="File of refused rows.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send the rows of a file, in event time. Interrupted, it goes on with --resume; nothing counts twice.

    Rows that do not fit are written to the reject file with line, field, value and fix. Posts must be in event-time
    order; clicks need not be, unless --speed paces them. Columns that the mapping reads and no row has are named.
    """
    from producers.mapping import load_mapping
    from producers.place import Place
    from producers.publish import Options
    from producers.rejects import RejectFile

    settings = settings_module.load(home)
    mapping = load_mapping(map_)
    if not path.is_file():
        raise ConfigurationError(f"{path} does not exist; check the path")
    pace = parse_speed(speed)
    topic = mapping.topic.full_name(settings.kafka.topic_prefix)
    options = Options(
        topic=topic,
        speed=pace,
        tolerance_ms=tolerance_ms,
        allow_unordered=allow_unordered or (mapping.topic.name == "events" and pace is None),
        limit=limit,
        sort_hint=f"sort it first: groundswell produce sort {path} --map {map_} --out {_sorted_name(path)}",
    )
    place = Place.of(settings.home / "produce", path, mapping.digest, _topics_as_they_are(settings.kafka, [topic]))
    done = place.load() if resume else 0
    named = rejects or settings.home / "produce" / f"{path.name}.{place.short}.rejects.jsonl"
    refused = RejectFile(named, keep_through_line=done)
    with refused, interrupting(Event()) as stop:
        summary = _send_file(settings.kafka, _Work(path, mapping, options, place, refused, done), stop)
    _report(summary, as_json)
    _exit_unless(summary["complete"], stop)


def sort(
    path: Annotated[Path, typer.Argument(help="JSON lines, CSV or Parquet; each also gzipped.")],
    map_: MapFile,
    out: Annotated[Path, typer.Option(help="JSON lines to write, gzipped if named .gz.")],
) -> None:
    """Write the rows of a file in event-time order, as JSON lines. Holds them in memory (about 1 kB a row)."""
    from producers.mapping import load_mapping
    from producers.sorting import sort_file

    rows, bad = sort_file(path, load_mapping(map_), out)
    typer.echo(f"{rows} rows in event-time order in {out}; {bad} unreadable rows left out")


def synthetic(  # noqa: PLR0913 - one parameter an option
    seed: Annotated[int, typer.Option(help="Equal seeds give equal events.")] = 7,
    posts: Annotated[int, typer.Option(min=1)] = 6_000,
    users: Annotated[int, typer.Option(min=0)] = 200,
    hours: Annotated[float, typer.Option(min=0.1)] = 24.0,
    start: Annotated[str, typer.Option(help="Start of event time, ISO 8601, UTC.")] = "2024-01-01T00:00:00",
    speed: SpeedOption = MAX,
    out: Annotated[
        Path | None, typer.Option(help="Write the posts here (JSON lines, gzipped if named .gz), send nothing.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Option(show_default="truth.jsonl, beside --out", help="Where to write what was planted.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an interrupted run of this world ended.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make bilingual posts and click sessions with planted mood shifts and one bot flood; write the truth beside it."""
    from producers.synthetic import SyntheticConfig
    from producers.synthetic_output import write_posts, write_truth

    config = SyntheticConfig(seed, posts, users, hours, parse_time(start))
    truth = truth or (Path() if out is None else out.parent) / "truth.jsonl"
    if out is not None and out.absolute() == truth.absolute():
        raise ConfigurationError(f"--truth: {truth} is where the posts go; name another file")
    write_truth(truth, config)
    if out is not None:
        summary: dict[str, Any] = {"written": write_posts(out, config), "out": str(out), "truth": str(truth)}
        _report(summary, as_json)
        return
    with interrupting(Event()) as stop:
        summary = _send_synthetic(settings_module.load(home), _World(config, parse_speed(speed), resume), stop)
    _report(summary | {"truth": str(truth)}, as_json)
    _exit_unless(summary["complete"], stop)


def _exit_unless(complete: bool, stop: Event) -> None:
    if stop.is_set() and not complete:
        typer.echo("stopped; the same command with --resume goes on from here", err=True)
        raise typer.Exit(STOPPED)


def _topics_as_they_are(kafka: settings_module.KafkaSettings, names: list[str]) -> str:
    """Return names and ids of the topics: a place in a topic that was made anew, or on another cluster, is none."""
    from pipeline.adapters.kafka_admin import KafkaAdmin

    with KafkaAdmin(kafka) as admin:
        return json.dumps(admin.topic_ids(names), sort_keys=True)


@dataclass(frozen=True, slots=True)
class _Work:
    """One file on its way."""

    path: Path
    mapping: "FieldMapping"
    options: "Options"
    place: "Place"
    refused: "RejectFile"
    done: int


def _send_file(kafka: settings_module.KafkaSettings, work: _Work, stop: Event) -> dict[str, Any]:
    from pipeline.adapters.kafka_sink import KafkaSink
    from producers.publish import Callbacks, Publisher
    from producers.rows import read_rows

    def durable(line: int) -> None:
        work.refused.flush()
        work.place.save(line)

    begin = monotonic()
    with (
        _resumable(work.place, "line"),
        closing(KafkaSink(kafka)) as sink,
        _progress(work.path.name, work.path.stat().st_size) as advance,
    ):
        callbacks = Callbacks(work.refused.write, durable, lambda line: advance(line.bytes_read), monotonic, wall_clock_ms)
        publisher = Publisher(work.mapping, sink, work.options, callbacks, stop)
        complete = publisher.run(line for line in read_rows(work.path) if line.number > work.done)
    if complete:
        work.place.clear()
    return _summary(publisher, monotonic() - begin) | {
        "topic": work.options.topic,
        "resumed_after_line": work.done,
        "complete": complete,
        "rejects": str(work.refused.path) if publisher.rejected else None,
        "columns_in_no_row": sorted(publisher.unseen) or None,
    }


@dataclass(frozen=True, slots=True)
class _World:
    """A synthetic world on its way."""

    config: "SyntheticConfig"
    speed: float | None
    resume: bool


def _send_synthetic(settings: settings_module.Settings, world: _World, stop: Event) -> dict[str, Any]:
    from pipeline.adapters.kafka_sink import KafkaSink
    from pipeline.topics import EVENTS, POSTS
    from producers.place import Place
    from producers.synthetic_output import Track, send

    begin, config, prefix = monotonic(), world.config, settings.kafka.topic_prefix
    topics = _topics_as_they_are(settings.kafka, [topic.full_name(prefix) for topic in (POSTS, EVENTS)])
    place = Place.of_world(settings.home / "produce", repr(config), topics)
    done = place.load() if world.resume else 0
    with (
        _resumable(place, "event"),
        closing(KafkaSink(settings.kafka)) as sink,
        _progress("synthetic", config.end_ms - config.start_ms) as advance,
    ):
        track = Track(done, place.save, lambda time_ms: advance(time_ms - config.start_ms))
        sent = send(config, sink, prefix, world.speed, stop, track)
    if not stop.is_set():
        place.clear()
    seconds = round(monotonic() - begin, 2)
    return {"sent": sent, "seconds": seconds, "complete": not stop.is_set(), "resumed_after_event": done}


def _summary(publisher: "Publisher", seconds: float) -> dict[str, Any]:
    rows = publisher.sent + publisher.rejected
    return {
        "sent": publisher.sent,
        "rejected": publisher.rejected,
        "unordered": publisher.unordered,
        "seconds": round(seconds, 2),
        "per_second": round(rows / seconds) if seconds > 0 else 0,
    }


def _report(summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary))
        return
    for name, value in summary.items():
        if value is not None:
            shown = ", ".join(value) if isinstance(value, list) else value
            typer.echo(f"{name.replace('_', ' '):>20}  {shown}")


def _sorted_name(path: Path) -> str:
    return str(path.with_name(path.name.split(".")[0] + ".sorted.jsonl.gz"))


@contextmanager
def _resumable(place: "Place", unit: str) -> Iterator[None]:
    """Say in the error of a broker that went away how far the run came and how it goes on."""
    try:
        yield
    except Unavailable as error:
        if not place.load():
            raise
        raise Unavailable(f"{error}; everything up to {unit} {place.load()} is safe, go on with --resume") from error


@contextmanager
def _progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how much of the whole is done, on stderr, while a person looks on."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name, total=total)
        yield lambda done: progress.update(task, completed=done)
