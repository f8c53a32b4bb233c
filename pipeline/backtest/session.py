"""One backtest from files to numbers: load, fit on the training span, run, judge the test span."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from time import perf_counter
from typing import Any

from pipeline.backtest.detections import HOUR_MS
from pipeline.backtest.evaluate import Evaluation, Spans, Truth, evaluate
from pipeline.backtest.event_study import EventStudy, event_study
from pipeline.backtest.fit import fit_prior
from pipeline.backtest.lines import content_hash, write_lines
from pipeline.backtest.posts import ByEntity, once_in_order
from pipeline.backtest.prices import read_prices
from pipeline.backtest.run import Run, run
from pipeline.backtest.truth import price_incidents, read_truth
from pipeline.core.detector_config import DETECTOR_VERSION, DetectorConfig
from pipeline.errors import ConfigurationError
from pipeline.events import ScoredPost

LIBRARIES = ("groundswell", "numpy", "pydantic", "matplotlib")
LEAST_SPAN_MS = HOUR_MS


@dataclass(frozen=True)
class Bounds:
    """Wanted spans; None is chosen from the recording: train on its first half, test on the second."""

    from_ms: int | None = None
    to_ms: int | None = None
    train_from_ms: int | None = None
    train_to_ms: int | None = None


@dataclass(frozen=True)
class Recording:
    """Posts in event-time order with what is known about them."""

    posts: tuple[ScoredPost, ...]
    by_entity: ByEntity
    truth: Truth
    spans: Spans


@dataclass(frozen=True)
class Outcome:
    """What a backtest found. ``seconds``: fitting, running and judging; reading and drawing are not in it."""

    config: DetectorConfig
    run: Run
    scores: Evaluation
    study: EventStudy | None
    seconds: float


def load(posts: Sequence[ScoredPost], prices: Path | None, truth: Path | None, bounds: Bounds) -> Recording:
    """Return the recording. Raises ConfigurationError for files or spans that cannot be used."""
    ordered = once_in_order(posts)
    if not ordered:
        raise ConfigurationError("no post names an entity; there is nothing to backtest")
    spans = choose_spans(bounds, ordered[0].event_time_ms, ordered[-1].event_time_ms + 1)
    known = tuple(post for post in ordered if post.event_time_ms < spans.test[1])
    by_entity = ByEntity(known)
    table = None if prices is None else read_prices(prices)
    entities = {post.entity for post in ordered}
    facts = Truth(
        planted=None if truth is None else read_truth(truth, entities),
        prices=table,
        losses=() if table is None else price_incidents(table, by_entity.entities),
    )
    return Recording(known, by_entity, facts, spans)


def choose_spans(bounds: Bounds, first_ms: int, end_ms: int) -> Spans:
    """Return the spans, checked: neither is empty, and training ends before the test begins."""
    middle = (first_ms + end_ms) // 2
    test = (_or(bounds.from_ms, middle), _or(bounds.to_ms, end_ms))
    train = (_or(bounds.train_from_ms, min(first_ms, test[0] - LEAST_SPAN_MS)), _or(bounds.train_to_ms, test[0]))
    for name, (start, end) in (("--from/--to", test), ("--train-from/--train-to", train)):
        if end - start < LEAST_SPAN_MS:
            raise ConfigurationError(f"{name}: [{start}, {end}) holds less than an hour; widen the span")
    if train[1] > test[0]:
        why = "thresholds would be tuned on what is reported; end training earlier"
        raise ConfigurationError(f"--train-to {train[1]} lies after --from {test[0]}: {why}")
    return Spans(test=test, train=train)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def backtest(recording: Recording, config: DetectorConfig, timezone: str | None, seed: int) -> Outcome:
    """Return what the detector does on the test span, after the training span taught its prior (unless ``timezone`` is None)."""
    begun = perf_counter()
    if timezone is not None:
        config = replace(config, prior=fit_prior(recording.posts, recording.spans.train, config, timezone))
    played = run(recording.posts, config)
    target = config.false_alerts_per_entity_day
    scores = evaluate(played.alerts, recording.by_entity, recording.truth, recording.spans, target)
    seconds = perf_counter() - begun
    return Outcome(config, played, scores, study(recording, scores, seed), seconds)


def study(recording: Recording, scores: Evaluation, seed: int) -> EventStudy | None:
    """Return the event study of the alerts, where there are prices."""
    if recording.truth.prices is None:
        return None
    alerts = [(detection.alert.entity, detection.at_ms) for detection in scores.found]
    return event_study(recording.truth.prices, alerts, recording.spans.test, seed)


def write_run(outcome: Outcome, summary: dict[str, Any], out: Path, dump: Callable[[dict[str, Any]], bytes]) -> None:
    """Write trends.jsonl, alerts.jsonl and summary.json into the folder ``out``."""
    write_lines(out / "trends.jsonl", (trend.to_json() for trend in outcome.run.trends))
    write_lines(out / "alerts.jsonl", (alert.to_json() for alert in outcome.run.alerts))
    write_lines(out / "summary.json", [dump(summary)])


def provenance(recording: Recording, config: DetectorConfig, files: Sequence[Path], seed: int) -> dict[str, Any]:
    """Return what the numbers depend on: spans, hashes of the files, models, configuration, versions."""
    models = sorted({f"{post.model}@{post.model_revision}" for post in recording.posts})
    return {
        "spans_ms": asdict(recording.spans),
        "posts": len(recording.posts),
        "entities": len(recording.by_entity.entities),
        "files": {path.name: content_hash(path) for path in files},
        "models": models,
        "seed": seed,
        "detector_version": DETECTOR_VERSION,
        "config_hash": config.config_hash,
        "versions": {name: version(name) for name in LIBRARIES} | {"python": python_version()},
        "config": asdict(config),
    }
