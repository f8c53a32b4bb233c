"""The same detector at several false-alert targets: what precision and recall each target buys."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.backtest.evaluate import Evaluation, evaluate
from pipeline.backtest.prepared import Posts
from pipeline.backtest.session import Outcome, Recording
from pipeline.backtest.tiers import NEW
from pipeline.core.detector_config import DetectorConfig

TARGETS = (0.001, 0.002, 0.005, 0.01, 0.015, 0.02)  # a law fitted for 0.005 says nothing beyond four times that


@dataclass(frozen=True)
class OperatingPoint:
    """One target and what came of it. ``realised``: alerts per entity-day by tier."""

    target: float
    alerts: int
    precision: float | None
    recall: float | None
    realised: dict[str, float]


def operating_points(
    recording: Recording, known: Outcome, targets: Sequence[float] = TARGETS, done: Callable[[], None] = lambda: None
) -> list[OperatingPoint]:
    """Return a point per target, from a run of its own but for the one that is ``known``; ``done`` is called after each."""
    points = []
    for target in targets:
        config = replace(known.config, false_alerts_per_entity_day=target)
        scores = known.scores if config == known.config else _scores(recording, known.posts, config)
        realised = {row.tier: row.realised for row in scores.tiers if row.tier != NEW}
        points.append(OperatingPoint(target, scores.alerts, scores.precision, scores.visible_recall, realised))
        done()
    return points


def _scores(recording: Recording, posts: Posts, config: DetectorConfig) -> Evaluation:
    alerts = posts.judge(config).alerts
    return evaluate(alerts, recording.by_entity, recording.truth, recording.spans, config.false_alerts_per_entity_day)
