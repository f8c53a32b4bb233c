"""Stricter targets give fewer alerts; the known point is not run again."""

from dataclasses import replace

import pytest

from pipeline.backtest.operating_points import operating_points
from pipeline.backtest.session import Bounds, backtest, load
from pipeline.core.detector_config import DetectorConfig
from tests.unit.core.streams import background, in_order


@pytest.mark.slow
def test_alerts_fall_with_the_target_and_each_point_is_reported_once() -> None:
    posts = in_order(*(background(f"E{i}", 30, 25, i) for i in range(3)))
    recording = load(posts, None, None, Bounds())
    outcome = backtest(recording, replace(DetectorConfig(), false_alerts_per_entity_day=0.1), "UTC", seed=1)
    done: list[None] = []
    points = operating_points(recording, outcome, (0.01, 0.1, 0.3), lambda: done.append(None))
    assert [point.target for point in points] == [0.01, 0.1, 0.3]
    assert points[0].alerts <= points[1].alerts <= points[2].alerts
    assert points[1].alerts == outcome.scores.alerts
    assert len(done) == 3


def test_a_known_point_costs_no_run() -> None:
    recording = load(background("A", 4, 10, 1), None, None, Bounds())
    outcome = backtest(recording, DetectorConfig(), None, seed=1)
    marked = replace(outcome, scores=replace(outcome.scores, alerts=123))
    (point,) = operating_points(recording, marked, (0.005,))
    assert point.alerts == 123
