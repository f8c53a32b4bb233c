"""A day's negatives stand against what is expected of the whole day, not of the panes in which somebody wrote."""

from dataclasses import replace

import pytest

from pipeline.backtest.daily import by_day
from pipeline.backtest.sharded import prepare_here
from pipeline.core.detector_config import DetectorConfig
from pipeline.times import DAY_MS
from tests.unit.core.streams import START_MS, background

PRIOR = DetectorConfig().prior


def test_days_without_posts_stand_there_too_and_every_post_counts_once() -> None:
    posts = [post for post in background("A", 12, 20, 1) if not 4 <= (post.event_time_ms - START_MS) // DAY_MS < 6]
    span = (START_MS, START_MS + 12 * DAY_MS)
    trends = prepare_here(posts).tell(DetectorConfig()).within(span)
    days = by_day(trends, span, PRIOR)
    assert [later.start_ms - day.start_ms for day, later in zip(days, days[1:], strict=False)] == [DAY_MS] * (len(days) - 1)
    assert sum(day.posts for day in days) == len(posts)
    empty = [day for day in days if day.posts == 0 and day.band is not None]
    assert [(day.negative, day.share) for day in empty][:1] == [(0.0, None)]


def test_the_band_is_that_of_a_whole_day() -> None:
    span = (START_MS, START_MS + 30 * DAY_MS)
    trends = prepare_here(background("A", 30, 20, 1)).tell(DetectorConfig()).within(span)
    days = [day for day in by_day(trends, span, PRIOR) if day.band is not None][15:29]
    expected = sum(day.band.expected for day in days if day.band is not None)
    assert expected == pytest.approx(sum(day.negative for day in days), rel=0.5)


def test_before_the_first_post_nothing_is_expected() -> None:
    trends = prepare_here(background("A", 2, 20, 1)).tell(DetectorConfig()).within((START_MS, START_MS + 2 * DAY_MS))
    days = by_day(trends, (START_MS - 3 * DAY_MS, START_MS + 2 * DAY_MS), replace(PRIOR, version="x"))
    assert days[0].band is None
    assert days[-1].band is not None
