"""One backtest from files to numbers: load, fit on the training span, run, judge the test span."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from time import perf_counter
from typing import Any

import numpy as np

from pipeline.adapters.files import sha256_of
from pipeline.adapters.json_lines import write_lines
from pipeline.backtest.evaluate import Evaluation, Spans, Truth, evaluate
from pipeline.backtest.event_study import EventStudy, event_study
from pipeline.backtest.exchange import NEW_YORK, Exchange
from pipeline.backtest.fit import fit_prepared
from pipeline.backtest.notes import about_posts, about_prices, about_span, about_truth
from pipeline.backtest.posts import ByEntity
from pipeline.backtest.prepared import Posts, Told
from pipeline.backtest.prices import LEAST_SESSIONS, Prices, read_prices
from pipeline.backtest.sharded import Prepare, prepare_here
from pipeline.backtest.truth import price_incidents, read_truth
from pipeline.core.detector_config import DETECTOR_VERSION, DetectorConfig
from pipeline.core.shown import utc
from pipeline.errors import ConfigurationError
from pipeline.events import ScoredPost
from pipeline.replay.play import make_folder
from pipeline.replay.recorded import once_in_order
from pipeline.times import DAY_MS, HOUR_MS

LIBRARIES = ("groundswell", "numpy", "pydantic", "matplotlib")
LEAST_SPAN_MS = HOUR_MS
PAGE, PICTURES = "report.html", "pictures"


@dataclass(frozen=True)
class Bounds:
    """Wanted spans; None is chosen from the recording: train on its first half, test on the second."""

    from_ms: int | None = None
    to_ms: int | None = None
    train_from_ms: int | None = None
    train_to_ms: int | None = None


@dataclass(frozen=True)
class Recording:
    """Posts in event-time order with what is known about them. ``notes``: what was read otherwise than it was asked for."""

    posts: tuple[ScoredPost, ...]
    by_entity: ByEntity
    truth: Truth
    spans: Spans
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What a backtest found. ``seconds``: fitting, running and judging; reading and drawing are not in it.

    ``posts`` are ready to be judged again.
    """

    config: DetectorConfig
    posts: Posts
    told: Told
    scores: Evaluation
    study: EventStudy | None
    seconds: float


def check_wishes(out: Path, files: Sequence[Path]) -> None:
    """Find out before minutes of scoring, not behind them, that the results could not be written or files not be read."""
    make_folder(out)
    for path in files:
        if not path.is_file():
            raise ConfigurationError(f"{path} is not a file; check the path")


def load(
    posts: Sequence[ScoredPost],
    prices: Path | None,
    truth: Path | None,
    bounds: Bounds,
    exchange: Exchange = NEW_YORK,
    learns: bool = True,
) -> Recording:
    """Return the recording; prices are of the sessions of ``exchange``. Raises ConfigurationError for what cannot be used.

    ``learns``: something is taken from the training span, so that it must hold posts.
    """
    ordered = once_in_order(posts)
    if not ordered:
        raise ConfigurationError("no post names an entity; there is nothing to backtest")
    recorded = ordered[0].event_time_ms, ordered[-1].event_time_ms
    spans = choose_spans(bounds, recorded[0], recorded[1] + 1)
    known = tuple(post for post in ordered if post.event_time_ms < spans.test[1])
    wanted = {"--from/--to": spans.test}
    if (bounds.train_from_ms, bounds.train_to_ms) != (None, None):
        wanted["--train-from/--train-to"] = spans.train
    elif learns:
        wanted["training, which ends where --from begins"] = spans.train
    check_posts(known, wanted, recorded)
    spans, notes = on_recorded_days(spans, recorded)
    by_entity = ByEntity(known)
    entities = {post.entity for post in ordered}
    table = None if prices is None else usable_prices(read_prices(prices, exchange), prices, entities, spans.test)
    facts = Truth(
        planted=None if truth is None else read_truth(truth, entities),
        prices=table,
        losses=() if table is None else price_incidents(table, by_entity.entities),
    )
    found = [
        *notes,
        *about_posts(posts, ordered),
        *(about_span(known, spans.test) if (bounds.from_ms, bounds.to_ms) == (None, None) else ()),
        *(() if facts.planted is None else about_truth(facts.planted, spans.test)),
        *(() if table is None else about_prices(table)),
    ]
    return Recording(known, by_entity, facts, spans, tuple(found))


def choose_spans(bounds: Bounds, first_ms: int, end_ms: int) -> Spans:
    """Return the spans, checked: neither is empty, and training ends before the test begins."""
    middle = (first_ms + end_ms) // 2
    if (bounds.from_ms, bounds.to_ms) == (None, None) and end_ms - middle < LEAST_SPAN_MS:
        when = f"the posts are of {utc(first_ms)} to {utc(end_ms)}"
        raise ConfigurationError(f"{when}, and their second half, which is judged, is less than an hour; give more posts")
    test = (_or(bounds.from_ms, middle), _or(bounds.to_ms, end_ms))
    train = (_or(bounds.train_from_ms, min(first_ms, test[0] - LEAST_SPAN_MS)), _or(bounds.train_to_ms, test[0]))
    for name, (start, end) in (("--from/--to", test), ("--train-from/--train-to", train)):
        if end - start < LEAST_SPAN_MS:
            raise ConfigurationError(f"{name}: {utc(start)} to {utc(end)} holds less than an hour; widen the span")
    if train[1] > test[0]:
        why = "thresholds would be tuned on what is reported; end training earlier"
        raise ConfigurationError(f"--train-to {utc(train[1])} lies after --from {utc(test[0])}: {why}")
    return Spans(test=test, train=train)


def on_recorded_days(spans: Spans, recorded: tuple[int, int]) -> tuple[Spans, tuple[str, ...]]:
    """Return the spans without the days before the first post and behind the last, and what to say of that.

    Nobody could have had an alert on these days: they would make every rate per day too low.
    """
    first, end = recorded[0] // DAY_MS * DAY_MS, (recorded[1] // DAY_MS + 1) * DAY_MS
    test, train = ((max(span[0], first), min(span[1], end)) for span in (spans.test, spans.train))
    found = Spans(test, train if train[0] < train[1] else spans.train)
    if found == spans:
        return found, ()
    parts = (f"{name} {utc(start)} to {utc(last)}" for name, (start, last) in (("judged", found.test), ("training", found.train)))
    return found, (f"the spans end with the days that the posts are of: {', '.join(parts)}",)


def check_posts(posts: Sequence[ScoredPost], wanted: Mapping[str, tuple[int, int]], recorded: tuple[int, int]) -> None:
    """Refuse spans in which nobody wrote: their scores would be those of an empty file."""
    for name, (start, end) in wanted.items():
        if not any(start <= post.event_time_ms < end for post in posts):
            when = f"the posts are of {utc(recorded[0])} to {utc(recorded[1])}"
            raise ConfigurationError(f"{name}: no post lies in {utc(start)} to {utc(end)}; {when}")


def usable_prices(prices: Prices, path: Path, entities: Set[str], span: tuple[int, int]) -> Prices:
    """Return the prices of a file, or refuse them where they say nothing about these entities in this span."""
    if entities.isdisjoint(prices.tickers):
        has, wanted = (", ".join(sorted(names)[:3]) for names in (prices.tickers, entities))
        raise ConfigurationError(f"prices: {path} holds no ticker that a post names (it has {has}; posts name {wanted})")
    sessions = np.flatnonzero((prices.closes_ms > span[0]) & (prices.closes_ms < span[1] + DAY_MS))
    if not len(sessions):
        days = f"{utc(int(prices.closes_ms[0]))} to {utc(int(prices.closes_ms[-1]))}"
        raise ConfigurationError(f"prices: {path} has sessions of {days}, none of {utc(span[0])} to {utc(span[1])}")
    columns = [prices.column(entity) for entity in entities if entity in prices.tickers]
    if not np.isfinite(prices.z[sessions][:, columns]).any():
        why = f"give two tickers or more, whose prices change, with {LEAST_SESSIONS} sessions before what is judged"
        raise ConfigurationError(f"prices: {path} can judge no session of {utc(span[0])} to {utc(span[1])}; {why}")
    return prices


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def backtest(
    recording: Recording, config: DetectorConfig, timezone: str | None, seed: int, prepare: Prepare = prepare_here
) -> Outcome:
    """Return what the detector does on the test span, after the training span taught its prior (unless ``timezone`` is None)."""
    begun = perf_counter()
    posts = prepare(recording.posts)
    if timezone is not None:
        config = replace(config, prior=fit_prepared(posts, recording.spans.train, config, timezone))
    told = posts.tell(config)
    target = config.false_alerts_per_entity_day
    scores = evaluate(told.alerts, recording.by_entity, recording.truth, recording.spans, target)
    seconds = perf_counter() - begun
    return Outcome(config, posts, told, scores, study(recording, scores, seed), seconds)


def study(recording: Recording, scores: Evaluation, seed: int) -> EventStudy | None:
    """Return the event study of the alerts, where there are prices."""
    if recording.truth.prices is None:
        return None
    alerts = [(detection.alert.entity, detection.at_ms) for detection in scores.found]
    return event_study(recording.truth.prices, alerts, recording.spans.test, seed)


def write_run(outcome: Outcome, summary: dict[str, Any], out: Path, dump: Callable[[dict[str, Any]], bytes]) -> None:
    """Write trends.jsonl, alerts.jsonl and summary.json into the folder ``out``.

    The report and the pictures of an earlier run are removed: they would stand beside the numbers of this one.
    """
    for page in (out / PAGE, *(out / PICTURES).glob("*.png")):
        page.unlink(missing_ok=True)
    write_lines(out / "trends.jsonl", (line for _, _, line in outcome.told.trends))
    write_lines(out / "alerts.jsonl", (alert.to_json() for alert in outcome.told.alerts))
    write_lines(out / "summary.json", [dump(summary)])


def provenance(recording: Recording, config: DetectorConfig, files: Sequence[Path], seed: int) -> dict[str, Any]:
    """Return what the numbers depend on: spans, hashes of the files, models, configuration, versions."""
    models = sorted({f"{post.model}@{post.model_revision}" for post in recording.posts})
    return {
        "spans_ms": asdict(recording.spans),
        "posts": len(recording.posts),
        "entities": len(recording.by_entity.entities),
        "files": {path.name: sha256_of(path) for path in files},
        "models": models,
        "seed": seed,
        "detector_version": DETECTOR_VERSION,
        "config_hash": config.config_hash,
        "versions": {name: version(name) for name in LIBRARIES} | {"python": python_version()},
        "config": config.numbers(),
    }
