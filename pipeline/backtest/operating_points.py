"""The same detector at several false-alert targets: what precision and recall each target buys."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.backtest.evaluate import evaluate
from pipeline.backtest.run import run
from pipeline.backtest.session import Recording
from pipeline.core.detector_config import DetectorConfig

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
    recording: Recording, config: DetectorConfig, done: Callable[[], None] = lambda: None
) -> list[OperatingPoint]:
    """Return a point per target, each from a run of its own; ``done`` is called after each."""
    points = []
    for target in TARGETS:
        alerts = run(recording.posts, replace(config, false_alerts_per_entity_day=target)).alerts
        scores = evaluate(alerts, recording.by_entity, recording.truth, recording.spans, target)
        realised = {row.tier: row.realised for row in scores.tiers}
        points.append(OperatingPoint(target, scores.alerts, scores.precision, scores.visible_recall, realised))
        done()
    return points
