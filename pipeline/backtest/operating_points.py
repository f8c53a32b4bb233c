"""The same detector at several false-alert targets: what precision and recall each target buys."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.backtest.evaluate import Spans, Truth, evaluate
from pipeline.backtest.posts import ByEntity
from pipeline.backtest.run import run
from pipeline.core.detector_config import DetectorConfig
from pipeline.events import ScoredPost

TARGETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)


@dataclass(frozen=True)
class OperatingPoint:
    """One target and what came of it. ``realised``: alerts per entity-day by tier."""

    target: float
    alerts: int
    precision: float | None
    recall: float | None
    realised: dict[str, float]


def operating_points(
    posts: Sequence[ScoredPost], config: DetectorConfig, truth: Truth, spans: Spans, done: Callable[[], None] = lambda: None
) -> list[OperatingPoint]:
    """Return a point per target, each from a run of its own; ``done`` is called after each."""
    by_entity = ByEntity(posts)
    points = []
    for target in TARGETS:
        alerts = run(posts, replace(config, false_alerts_per_entity_day=target)).alerts
        scores = evaluate(alerts, by_entity, truth, spans, target)
        realised = {row.tier: row.realised for row in scores.tiers}
        points.append(OperatingPoint(target, scores.alerts, scores.precision, scores.visible_recall, realised))
        done()
    return points
