"""One run: recorded posts through the trend operator in event time, as the live hosts would."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.core.detector_config import DetectorConfig
from pipeline.core.spikes import make_operator
from pipeline.events import Alert, ScoredPost, Trend
from pipeline.jobs.trends import TrendHost


@dataclass(frozen=True)
class Run:
    """What came out, in the order it was decided. ``late``: posts behind the allowed lateness."""

    trends: tuple[Trend, ...]
    alerts: tuple[Alert, ...]
    late: int


def run(posts: Iterable[ScoredPost], config: DetectorConfig) -> Run:
    """Return what the detector says to these posts, given in the order of their arrival."""
    host = TrendHost(make_operator(config), config.out_of_orderness_ms)
    trends: list[Trend] = []
    alerts: list[Alert] = []
    late = 0
    for step in host.on_posts(posts):
        trends += step.trends
        alerts += step.alerts
        late += len(step.late)
    last = host.finish()
    return Run((*trends, *last.trends), (*alerts, *last.alerts), late)
