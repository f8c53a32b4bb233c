"""A sweep over a grid: every point tuned on the training span, the best one alone judged on the test span.

Points run in processes of their own (spawn). Each finished point is a line of ``sweep.jsonl``, so that an interrupted sweep
goes on where it stopped, as long as data and grid settings are the same.
"""

import gc
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.adapters.json_lines import read_objects, write_lines
from pipeline.backtest.evaluate import Evaluation, Spans, Truth, evaluate
from pipeline.backtest.fit import fit_prepared
from pipeline.backtest.grid import Point, configured
from pipeline.backtest.posts import ByEntity
from pipeline.backtest.prepared import Posts
from pipeline.backtest.session import Recording
from pipeline.backtest.sharded import prepare_here
from pipeline.core.detector_config import DETECTOR_VERSION, DetectorConfig
from pipeline.errors import ConfigurationError
from pipeline.pool import AHEAD, pool
from pipeline.replay.recorded import once_in_order, read_scored

RESULTS = "sweep.jsonl"


@dataclass(frozen=True)
class SweepData:
    """What every process needs; read by each once. ``timezone``: of the season, None where nothing is fitted.

    ``fingerprint``: see ``write_data``.
    """

    path: Path
    truth: Truth
    spans: Spans
    timezone: str | None
    fingerprint: str


@dataclass(frozen=True)
class _Worker:
    data: SweepData
    config: DetectorConfig
    posts: Posts
    by_entity: ByEntity


_worker: _Worker | None = None


def write_data(recording: Recording, config: DetectorConfig, out: Path, timezone: str | None) -> SweepData:
    """Write the training posts, scored, once for all processes, and return what these need.

    Posts behind the training span are not even in the file. The fingerprint names what a result depends on beside its point.
    """
    early = [post for post in recording.posts if post.event_time_ms < recording.spans.train[1]]
    posts = out / "training-posts.jsonl.gz"
    write_lines(posts, (post.to_json() for post in early))
    truth = recording.truth
    facts = [timezone, recording.spans.train, list(truth.planted or ()), list(truth.losses), config.config_hash, DETECTOR_VERSION]
    content = hashlib.sha256(b"".join(post.to_json() for post in early) + json.dumps(facts).encode())
    if truth.prices is not None:
        content.update(truth.prices.z.tobytes() + truth.prices.closes_ms.tobytes())
    return SweepData(posts, truth, recording.spans, timezone, content.hexdigest()[:16])


def sweep(
    data: SweepData, config: DetectorConfig, grid_points: Sequence[Point], out: Path, processes: int
) -> Iterator[dict[str, Any]]:
    """Yield the result of every point, those of an earlier sweep first; results are appended to ``out`` as they come.

    The training posts are removed behind the last result; a sweep that does not get there leaves them beside its results.
    """
    known = known_results(out, data.fingerprint)
    yield from (known[_key(point)] for point in grid_points if _key(point) in known)
    missing = [point for point in grid_points if _key(point) not in known]
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a", encoding="utf-8") as lines:
        for result in _in_processes(data, config, missing, processes):
            lines.write(json.dumps(result, sort_keys=True) + "\n")
            lines.flush()
            yield result
    data.path.unlink(missing_ok=True)


def known_results(out: Path, fingerprint: str) -> dict[str, dict[str, Any]]:
    """Return the results of an earlier sweep over the same data, by point; a last line cut off by an interrupt is ignored."""
    if not out.is_file():
        return {}
    text = out.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        out.write_text(whole, "utf-8")
    rows = [row for _, row in read_objects(out)]
    return {_key(row["point"]): row for row in rows if row["fingerprint"] == fingerprint}


def best_of(results: Iterable[Mapping[str, Any]], grid_points: Sequence[Point]) -> Mapping[str, Any]:
    """Return the point with the greatest objective on the training span; of equals the first in the order of the grid."""
    found = {_key(result["point"]): result for result in results}
    return max((found[_key(point)] for point in grid_points), key=lambda result: float(result["objective"]))


def chosen(
    results: Iterable[Mapping[str, Any]], grid_points: Sequence[Point], config: DetectorConfig
) -> tuple[DetectorConfig, dict[str, Any]]:
    """Return the configuration of the point that is best on the training span, and what was tried, as JSON values.

    Where several points have one objective between them, none is better than the settings, which stay as they are.
    """
    found = list(results)
    best, objectives = best_of(found, grid_points), {float(result["objective"]) for result in found}
    point = {} if len(found) > 1 and len(objectives) == 1 else best["point"]
    tried = {"points": len(grid_points), "best": point, "objective_on_training_span": best["objective"]}
    return configured(config, point), tried


def objective(scores: Evaluation, target: float) -> float:
    """Return what a sweep maximises: F1 of precision and visible recall, less what the alerts exceed their target by.

    Precision is that of the prices where there are any.
    """
    precision = scores.precision if scores.prices is None else scores.prices.precision
    recall = scores.visible_recall
    if not precision or not recall:
        return 0.0
    excess = max(0.0, scores.alerts_per_entity_day / target - 1.0)
    return 2.0 * precision * recall / (precision + recall) - excess


def fitted(posts: Posts, config: DetectorConfig, data: SweepData) -> DetectorConfig:
    """Return the configuration with the prior that its own scores teach on the training span, where anything is fitted."""
    if data.timezone is None:
        return config
    return replace(config, prior=fit_prepared(posts, data.spans.train, config, data.timezone))


def _key(point: Mapping[str, Any]) -> str:
    return json.dumps(point, sort_keys=True)


def _in_processes(data: SweepData, config: DetectorConfig, todo: Sequence[Point], processes: int) -> Iterator[dict[str, Any]]:
    if not todo:
        return
    waiting = iter(todo)
    with pool(processes, _start, data, config) as executor:
        pending = {executor.submit(_score_point, point) for point in islice(waiting, processes * AHEAD)}
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            pending |= {executor.submit(_score_point, point) for point in islice(waiting, len(done))}
            yield from (future.result() for future in done)


def _start(data: SweepData, config: DetectorConfig) -> None:
    global _worker
    posts = once_in_order(read_scored(data.path))
    _worker = _Worker(data, config, prepare_here(posts), ByEntity(posts))
    gc.freeze()  # all of it stays to the end: the collector need not look through it again and again


def _score_point(point: Point) -> dict[str, Any]:
    if _worker is None:
        raise RuntimeError("the process was not initialised")
    try:
        return score_point(point, _worker.posts, _worker.by_entity, _worker.config, _worker.data)
    except (ArithmeticError, ValueError) as error:
        shown = ", ".join(f"{name}={value}" for name, value in point.items())
        raise ConfigurationError(f"grid: {shown}: no detector can compute with that ({error}); name other values") from error


def score_point(point: Point, posts: Posts, by_entity: ByEntity, config: DetectorConfig, data: SweepData) -> dict[str, Any]:
    """Return one line of the results: the point on the training span alone."""
    tuned = fitted(posts, configured(config, point), data)
    target = tuned.false_alerts_per_entity_day
    scores = evaluate(posts.judge(tuned).alerts, by_entity, data.truth, replace(data.spans, test=data.spans.train), target)
    return {
        "point": dict(point),
        "objective": objective(scores, target),
        "train": scores.summary(),
        "config_hash": tuned.config_hash,
        "fingerprint": data.fingerprint,
    }
