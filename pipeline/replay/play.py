"""Play posts to the trend operator in event time, and write what it says: trends.jsonl, alerts.jsonl, summary.json."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.detector_config import DETECTOR_VERSION, DetectorConfig
from pipeline.core.trends import Step
from pipeline.errors import ConfigurationError
from pipeline.events import ScoredPost
from pipeline.jobs.trends import make_host

RECORDS = ("trends.jsonl", "alerts.jsonl")


@dataclass(slots=True)
class Tally:
    """What was played and what came out. ``steps`` counts alert records by rule and status."""

    posts: int = 0
    nameless: int = 0
    late: int = 0
    trends: int = 0
    first_ms: int | None = None
    last_ms: int | None = None
    entities: set[str] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    alerts: set[str] = field(default_factory=set)
    steps: Counter[str] = field(default_factory=Counter)

    def see(self, post: ScoredPost) -> None:
        """Count one post that is about to be played."""
        self.posts += 1
        self.first_ms = post.event_time_ms if self.first_ms is None else min(self.first_ms, post.event_time_ms)
        self.last_ms = post.event_time_ms if self.last_ms is None else max(self.last_ms, post.event_time_ms)
        if post.entity:
            self.entities.add(post.entity)
        else:
            self.nameless += 1
        self.models.add(f"{post.model}@{post.model_revision}")

    def summary(self, config: DetectorConfig) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        return {
            "posts": self.posts,
            "entities": len(self.entities),
            "without_entity": self.nameless,
            "late": self.late,
            "trends": self.trends,
            "alerts": len(self.alerts),
            "alert_records": dict(sorted(self.steps.items())),
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
            "models": sorted(self.models),
            "detector_version": DETECTOR_VERSION,
            "config_hash": config.config_hash,
            "prior": config.prior.version,
        }


def play(posts: Iterable[ScoredPost], config: DetectorConfig, tally: Tally, from_ms: int = 0) -> Iterator[Step]:
    """Yield what the operator says, post by post, and in the end what was pending; before ``from_ms`` it only learns."""
    for step in since(_played(_seen(posts, tally), config), from_ms):
        yield _counted(step, tally)


def _played(posts: Iterable[ScoredPost], config: DetectorConfig) -> Iterator[Step]:
    host = make_host(config)
    yield from host.on_posts(posts)
    yield host.finish()


def _seen(posts: Iterable[ScoredPost], tally: Tally) -> Iterator[ScoredPost]:
    for post in posts:
        tally.see(post)
        yield post


def _counted(step: Step, tally: Tally) -> Step:
    tally.trends += len(step.trends)
    tally.late += len(step.late)
    for alert in step.alerts:
        tally.alerts.add(alert.alert_id)
        tally.steps[f"{alert.rule}.{alert.status}"] += 1
    return step


def since(steps: Iterable[Step], from_ms: int) -> Iterator[Step]:
    """Yield the steps without what was decided before ``from_ms``: the warm-up says nothing."""
    for step in steps:
        trends = tuple(trend for trend in step.trends if trend.window_start_ms >= from_ms)
        alerts = tuple(alert for alert in step.alerts if alert.event_time_ms > from_ms)
        yield Step(trends, alerts, (), step.late)


def paced(
    posts: Iterable[ScoredPost], speed: float, wait: Callable[[float], bool], time_of: Callable[[ScoredPost], int]
) -> Iterator[ScoredPost]:
    """Yield each post ``speed`` times as fast as ``time_of`` says it came; ``wait(seconds)`` returns True to stop early."""
    before_ms: int | None = None
    for post in posts:
        now_ms = time_of(post)
        gap_ms = 0 if before_ms is None else max(0, now_ms - before_ms)
        if gap_ms and wait(gap_ms / 1000 / speed):
            return
        before_ms = now_ms
        yield post


def make_folder(out: Path) -> None:
    """Make the folder of the results: before minutes of scoring, not behind them, it shows that it could not be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--out {out} cannot be written: {error}; name a folder that can") from error


def write(steps: Iterable[Step], out: Path) -> None:
    """Write trends.jsonl and alerts.jsonl into the folder ``out``: as they come under the name NAME.partial, moved at the end.

    What an earlier run left stays as it is when this one fails, or is interrupted, and nothing is left under the other name.
    """
    partial = [out / f"{name}.partial" for name in RECORDS]
    try:
        make_folder(out)
        with ExitStack() as files:
            trends, alerts = (files.enter_context(path.open("wb")) for path in partial)
            for step in steps:
                trends.writelines(trend.to_json() + b"\n" for trend in step.trends)
                alerts.writelines(alert.to_json() + b"\n" for alert in step.alerts)
        for name, path in zip(RECORDS, partial, strict=True):
            path.replace(out / name)
    except OSError as error:
        raise ConfigurationError(f"--out {out} cannot be written: {error}; name a folder that can") from error
    finally:
        with suppress(OSError):
            for path in partial:
                path.unlink(missing_ok=True)


def write_summary(summary: dict[str, Any], out: Path) -> None:
    """Write summary.json into the folder ``out``."""
    (out / "summary.json").write_text(json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
