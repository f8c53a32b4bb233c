"""`replay`: recorded posts through everything, in event time."""

import threading
from functools import partial
from operator import attrgetter
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline import settings as settings_module
from pipeline.commands.options import MAX, EncoderChoice, EncoderOption, JsonOption, SpeedOption, parse_speed, parse_time
from pipeline.contract import LATEST_MS
from pipeline.settings import Settings
from pipeline.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.core.trends import Step
    from pipeline.events import ScoredPost
    from pipeline.replay.raw import Scoring

MOST_WARM_UP = 36_500  # a century: posts are of 2000 to 2100


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(replay)


def replay(  # noqa: PLR0913 - one parameter an option
    paths: Annotated[
        list[str],
        typer.Argument(help="Posts, scored or raw: JSON lines, CSV or Parquet, plain or .gz; topic:scored or topic:posts."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for trends.jsonl, alerts.jsonl and summary.json.")],
    from_: Annotated[str | None, typer.Option("--from", help="First event time: a date, or epoch milliseconds.")] = None,
    to: Annotated[str | None, typer.Option(help="Event time to stop before.")] = None,
    warm_up: Annotated[
        float, typer.Option(min=0.0, max=MOST_WARM_UP, help="Days before --from that teach the baselines and say nothing.")
    ] = 0.0,
    arrival: Annotated[
        bool, typer.Option("--arrival", help="As they came: by available_at_ms, topic:scored by offsets; late posts are as late.")
    ] = False,
    speed: SpeedOption = MAX,
    mapping: Annotated[Path | None, typer.Option("--map", help="Mapping file for raw rows that are no SocialPosts.")] = None,
    encoder: EncoderOption = EncoderChoice.TRANSFORMER,
    publish: Annotated[
        str | None, typer.Option(help="Also write to the topics of this prefix, which is not the live one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Play recorded posts through the trend operator in event time; the same alerts as live, byte for byte.

    Raw posts are scored by the worker first, and the scores kept beside the file, so that the next run is fast.
    """
    from pipeline.jobs.detector import detector_config
    from pipeline.replay import play
    from pipeline.replay.from_topics import check_prefix
    from pipeline.replay.recorded import known_ms

    settings = settings_module.load()
    from_ms, to_ms = _span(from_, to)
    if publish is not None:
        check_prefix(publish, settings.kafka.topic_prefix)
    factor = parse_speed(speed)
    play.make_folder(out)
    config, tally, begun = detector_config(settings.trends), play.Tally(), perf_counter()
    scoring = scoring_for(settings, mapping, encoder)
    posts = _posts(paths, scoring, (from_ms - round(warm_up * DAY_MS), to_ms), arrival)
    if factor is not None:
        posts = play.paced(posts, factor, threading.Event().wait, known_ms if arrival else attrgetter("event_time_ms"))
    steps = play.play(posts, config, tally, from_ms)
    play.write(steps if publish is None else _published(steps, publish, settings), out)
    summary = tally.summary(config) | {"seconds": round(perf_counter() - begun, 3)}
    play.write_summary(summary, out)
    _tell(summary, out, as_json)


def _posts(paths: list[str], scoring: "Scoring", span: tuple[int, int], by_arrival: bool) -> "Iterable[ScoredPost]":
    from pipeline.core.trends import post_order
    from pipeline.replay.from_topics import SCHEME
    from pipeline.replay.raw import read_posts
    from pipeline.replay.recorded import arrival, as_they_came, between, merged

    lanes = [lane for path in paths if path.startswith(SCHEME) for lane in _topic(path, scoring, span)]
    files = between(merged([read_posts(Path(path), scoring) for path in paths if not path.startswith(SCHEME)]), *span)
    if by_arrival:
        return as_they_came([sorted(files, key=arrival), *lanes])
    return merged([files, sorted((post for lane in lanes for post in lane), key=post_order)])


def _topic(name: str, scoring: "Scoring", span: tuple[int, int]) -> "list[list[ScoredPost]]":
    from pipeline.adapters.kafka_reader import KafkaReader
    from pipeline.inprocess import score_posts
    from pipeline.replay.from_topics import read_topic

    kafka = scoring.settings.kafka
    return read_topic(
        KafkaReader(kafka),
        name,
        kafka.topic_prefix,
        (max(0, span[0]), span[1]),
        lambda posts: score_posts(posts, scoring.make_encoder(), scoring.settings),
    )


def _published(steps: "Iterable[Step]", prefix: str, settings: Settings) -> "Iterable[Step]":
    from pipeline.adapters.kafka_sink import KafkaSink
    from pipeline.replay.from_topics import published

    return published(steps, KafkaSink(settings.kafka), prefix)


def scoring_for(settings: Settings, mapping: Path | None, encoder: EncoderChoice, given: bool = False) -> "Scoring":
    """Return how raw posts are scored, telling how far that is. ``given``: see ``Scoring``."""
    from pipeline.commands.progress import counting
    from pipeline.replay.raw import Scoring
    from producers.mapping import load_mapping
    from workers.hosting import load_encoder

    rules = load_mapping(mapping) if mapping else None
    return Scoring(
        settings=settings,
        make_encoder=partial(load_encoder, encoder, settings),
        encoder_name=encoder,
        mapping=rules,
        given=given,
        counting=partial(counting, "scoring", "raw posts"),
        processes=partial(_processes, settings, encoder),
    )


def _processes(settings: Settings, choice: EncoderChoice) -> int:
    """Return in how many processes to score: one a core, but a single one on a GPU, or for the fake encoder, which is fast."""
    if choice is EncoderChoice.FAKE:
        return 1
    from pipeline.pool import cores
    from workers.model.transformer import find_device

    return cores() if find_device(settings.encoder.device).type == "cpu" else 1


def _span(from_: str | None, to: str | None) -> tuple[int, int]:
    """Return [from_ms, to_ms); without a date there is no bound."""

    span = parse_time(from_) if from_ else 0, parse_time(to) if to else LATEST_MS
    if span[0] >= span[1]:
        raise typer.BadParameter(f"{to} does not lie after --from {from_}; no post can be between them", param_hint="--to")
    return span


def _tell(summary: dict[str, object], out: Path, as_json: bool) -> None:
    import json

    if as_json:
        typer.echo(json.dumps(summary))
        return
    typer.echo(
        f"{summary['posts']:,} posts of {summary['entities']:,} entities in {summary['seconds']} s, {summary['late']} too late"
    )
    typer.echo(f"{summary['trends']:,} trends, {summary['alerts']} alerts: {out / 'alerts.jsonl'}")
