"""`backtest` and `compare`: replay plus truth, and two runs side by side."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import settings as settings_module
from pipeline.backtest.exchange import HOURS, NEW_YORK, read_exchange
from pipeline.commands.options import EncoderChoice, EncoderOption, JsonOption, parse_time
from pipeline.commands.replay import scoring_for
from pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from rich.progress import Progress

    from pipeline.backtest.grid import Point
    from pipeline.backtest.market import MarketAlert
    from pipeline.backtest.report import ReportInput
    from pipeline.backtest.session import Outcome, Recording
    from pipeline.core.detector_config import DetectorConfig
    from pipeline.events import ScoredPost
    from pipeline.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(backtest)
    app.command()(compare)


def backtest(  # noqa: PLR0913 - one parameter an option
    paths: Annotated[list[Path], typer.Argument(help="Posts, scored or raw, in event-time order: .jsonl or .jsonl.gz.")],
    out: Annotated[Path, typer.Option(help="Folder for report.html, summary.json, trends.jsonl and alerts.jsonl.")],
    prices: Annotated[Path | None, typer.Option(help="Daily prices: JSON lines with ticker, date, close or adj_close.")] = None,
    truth: Annotated[Path | None, typer.Option(help="Incidents: JSON lines with entity, kind, from_ms, to_ms.")] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="Beginning of what is judged: a date or epoch milliseconds.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="End of what is judged, exclusive.")] = None,
    train_from: Annotated[str | None, typer.Option(help="Beginning of what thresholds may learn from.")] = None,
    train_to: Annotated[str | None, typer.Option(help="End of it, exclusive; not after --from.")] = None,
    timezone: Annotated[
        str, typer.Option(help="Of the exchange: for the weekly season and the sessions of prices.")
    ] = NEW_YORK.timezone,
    hours: Annotated[str, typer.Option(help="When it trades; posts after the close are the next session's.")] = HOURS,
    fit: Annotated[bool, typer.Option(help="Fit season, levels and thresholds on the training span.")] = True,
    report: Annotated[bool, typer.Option(help="Write report.html; runs the detector at four more targets.")] = True,
    pictures: Annotated[bool, typer.Option("--pictures", help="Write the report's pictures as OUT/pictures/*.png too.")] = False,
    lookahead: Annotated[bool, typer.Option("--lookahead", help="Run again on truncated posts and compare.")] = False,
    model_cutoff: Annotated[
        str | None,
        typer.Option(help="Last year, month or day of the model's training data; --lookahead knows that of the weights in use."),
    ] = None,
    allow_hindsight: Annotated[
        bool, typer.Option("--allow-hindsight", help="Judge posts from before --model-cutoff all the same.")
    ] = False,
    warmup: Annotated[bool, typer.Option("--warmup", help="Run again with later beginnings and compare.")] = False,
    market: Annotated[
        bool, typer.Option(help="Judge the markets too; takes as long as a replay, not counted in seconds.")
    ] = True,
    sweep: Annotated[Path | None, typer.Option(help="YAML grid: setting to list of values; tuned on the training span.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Of a sweep, and by entity; default: cores.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the placebo dates.")] = 7,
    encoder: EncoderOption = EncoderChoice.TRANSFORMER,
    as_json: JsonOption = False,
) -> None:
    """Replay recorded posts and judge the alerts: precision, recall, lead time, rates, calibration; one HTML report.

    Thresholds are fitted on the training span, everything is judged on the test span. Raw posts are scored first, and the
    scores kept beside the file.
    """
    from pipeline.backtest import session
    from pipeline.backtest import sweep as sweeps
    from pipeline.backtest.lookahead import check_hindsight
    from pipeline.backtest.market import market_alerts
    from pipeline.backtest.report import write_report
    from pipeline.backtest.sharded import preparing
    from pipeline.jobs.detector import detector_config
    from pipeline.pool import cores

    settings = settings_module.load()
    bounds = session.Bounds(*(None if text is None else parse_time(text) for text in (from_, to, train_from, train_to)))
    config, zone = detector_config(settings.trends), timezone if fit else None
    cutoff_ms = None if model_cutoff is None else cut_off_ms(model_cutoff)
    exchange = read_exchange(timezone, hours)
    session.check_wishes(out, _given(prices, truth))
    judged, at_once = prices is not None or truth is not None, cores() if processes is None else processes
    todo = [] if sweep is None else _points(sweep, config, fit, judged)
    with _progress() as progress, preparing(at_once) as prepare:
        posts = _read(paths, settings, encoder)
        recording = session.load(posts, prices, truth, bounds, exchange, learns=fit or bool(todo))
        _tell(recording.notes)
        check_hindsight(cutoff_ms, recording.spans.test[0], allow_hindsight or lookahead)
        extra: dict[str, Any] = {}
        if todo:
            data = sweeps.write_data(recording, config, out, zone)
            results = sweeps.sweep(data, config, todo, out / sweeps.RESULTS, at_once)
            config, extra["sweep"] = sweeps.chosen(progress.track(results, len(todo), description="sweep"), todo, config)
            _tell(_undecided(extra["sweep"]))
        outcome = session.backtest(recording, config, zone, seed, prepare)
        learned_ms = _known_cutoff(posts, settings) if lookahead and cutoff_ms is None else cutoff_ms
        extra |= _analyses(recording, outcome, lookahead, warmup, learned_ms)
        heard = market_alerts(recording.posts, outcome.config, recording.spans.test) if market else None
        extra["market_alerts"] = None if heard is None else [alert.summary() for alert in heard]
        facts = session.provenance(recording, outcome.config, _given(*paths, prices, truth, sweep), seed)
        facts |= {"model_cutoff": model_cutoff, "hours": hours}
        summary = outcome.scores.summary() | {"seconds": round(outcome.seconds, 3)} | extra
        session.write_run(outcome, summary | {"provenance": facts}, out, _dump)
        if report or pictures:
            write_report(_page(recording, outcome, facts, heard, progress), out, report, pictures)
    typer.echo(_dump(summary).decode() if as_json else _shown(summary, out, report))


def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder of a run, or its alerts.jsonl.")],
    run_b: Annotated[Path, typer.Argument(help="The run to hold against it.")],
    as_json: JsonOption = False,
) -> None:
    """Say which alerts the second run gained, lost, or moved in time."""
    from pipeline.backtest.compare import compare as compare_alerts
    from pipeline.backtest.compare import read_alerts
    from pipeline.core.shown import utc

    found = compare_alerts(read_alerts(run_a), read_alerts(run_b)).summary()
    if as_json:
        typer.echo(json.dumps(found))
        return
    for kind in ("gained", "lost", "moved"):
        for alert in found[kind]:
            moved = f" by {alert['moved_min']:+.0f} min" if kind == "moved" else ""
            typer.echo(f"{kind:<7}{alert['entity']:<12}{alert['rule']:<22}{utc(alert['event_time_ms'])}{moved}")
    typer.echo(f"{found['same']} the same, {len(found['gained'])} gained, {len(found['lost'])} lost, {len(found['moved'])} moved")


def _read(paths: list[Path], settings: "Settings", encoder: EncoderChoice) -> "list[ScoredPost]":
    from pipeline.replay.raw import read_posts

    scoring = scoring_for(settings, None, encoder, given=True)
    return [post for path in paths for post in read_posts(path, scoring)]


def cut_off_ms(text: str) -> int:
    """Return the last millisecond of a year, month or day (ISO), or the time that a text names otherwise."""
    from pipeline.backtest.lookahead import last_moment

    if re.fullmatch(r"\d{4}(-\d\d){0,2}", text):
        try:
            moment = last_moment(text)
        except ValueError:
            raise ConfigurationError(f"--model-cutoff {text!r} is not a date; write 2014-07-01, 2014-07 or 2014") from None
        if moment is not None:
            return moment
    return parse_time(text)


def _given(*paths: Path | None) -> list[Path]:
    return [path for path in paths if path is not None]


def _points(path: Path, config: "DetectorConfig", fits: bool, judged: bool) -> "list[Point]":
    from pipeline.backtest.grid import points, read_grid

    if not judged:
        raise ConfigurationError("--sweep needs --prices or --truth: without them no point is better than another")
    return points(read_grid(path, config, fits))


def _undecided(tried: "dict[str, Any]") -> Iterator[str]:
    if not tried["best"]:
        objective = tried["objective_on_training_span"]
        yield f"--sweep: every point has the objective {objective:g} on the training span; the settings stay as they are"


def _known_cutoff(posts: "list[ScoredPost]", settings: "Settings") -> int | None:
    """Return the last moment that the model of these scores learned from, where it is the one that is configured."""
    from pipeline.backtest.lookahead import last_moment
    from workers.model.describe import cut_off_of

    dates = [cut_off_of(revision, settings.encoder) for revision in {post.model_revision for post in posts}]
    return max((moment for text in dates if text and (moment := last_moment(text)) is not None), default=None)


def _analyses(
    recording: "Recording", outcome: "Outcome", lookahead: bool, warmup: bool, model_cutoff_ms: int | None
) -> dict[str, Any]:
    from pipeline.backtest import lookahead as analyses

    found: dict[str, Any] = {}
    if lookahead:
        found["lookahead"] = analyses.lookahead(recording.posts, outcome.config, model_cutoff_ms).summary()
    if warmup:
        rows = analyses.warmup(recording.posts, outcome.config, recording.spans.test)
        found["warmup"] = [row.summary() for row in rows]
    return found


def _page(
    recording: "Recording",
    outcome: "Outcome",
    facts: dict[str, Any],
    heard: "list[MarketAlert] | None",
    progress: "Progress",
) -> "ReportInput":
    """Return what the page shows; its operating points take a run each."""
    from pipeline.backtest.market import days_of_markets
    from pipeline.backtest.operating_points import TARGETS, operating_points
    from pipeline.backtest.report import ReportInput
    from pipeline.core.shown import utc

    span, config = recording.spans.test, outcome.config
    title = f"Backtest {utc(span[0])} to {utc(span[1])}"
    trends = tuple(outcome.told.within(span))
    days = {} if heard is None else days_of_markets(trends, span, config)
    task = progress.add_task("report", total=len(TARGETS))
    tried = tuple(operating_points(recording, outcome, done=lambda: progress.advance(task)))
    return ReportInput(title, outcome.scores, trends, span, config.prior, tried, outcome.study, facts, heard, days)


def _tell(notes: Iterable[str]) -> None:
    for note in notes:
        typer.echo(note, err=True)


@contextmanager
def _progress() -> "Iterator[Progress]":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


def _dump(summary: dict[str, Any]) -> bytes:
    return json.dumps(summary, ensure_ascii=False, allow_nan=False).encode()


def _shown(summary: dict[str, Any], out: Path, report: bool) -> str:
    names = ("precision", "recall", "visible_recall", "alerts", "alerts_per_entity_day", "flood_share", "seconds")
    lines = [f"{name:<24}{summary[name]}" for name in names]
    if summary["market_alerts"] is not None:
        lines.append(f"{'market_alerts':<24}{len(summary['market_alerts'])}")
    lines += [f"{'realised/target ' + tier:<24}{value:.2f}" for tier, value in summary["realised_over_target"].items()]
    return "\n".join([*lines, str(out / ("report.html" if report else "summary.json"))])
