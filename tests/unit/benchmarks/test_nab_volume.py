"""The volume rule: what raises a score, what does not, and that no number can break it."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.nab_volume import PANES_PER_DAY, OwnScale, PooledSeason, VolumeGroup, VolumeRules, day_slot
from pipeline.core.trends import PANE_MS

START_MS = 1_400_025_600_000  # 2014-05-14 00:00 UTC, a Wednesday


def play(counts: list[float], entity: str = "X") -> list[float]:
    group = VolumeGroup(VolumeRules(), "UTC")
    return [group.add(START_MS + row * PANE_MS, {entity: count})[entity] for row, count in enumerate(counts)]


def test_a_burst_stands_out_and_more_of_it_stands_out_more() -> None:
    usual = [float(row % 4) for row in range(3 * PANES_PER_DAY)]
    quiet, small, large = (play([*usual, last])[-1] for last in (2.0, 10.0, 40.0))
    assert 2 * quiet < small < large


def test_the_second_hour_of_a_storm_is_less_news_than_the_first() -> None:
    usual = [2.0, 1.0, 3.0] * PANES_PER_DAY
    scores = play([*usual, *[60.0] * 40])
    storm = scores[len(usual) :]
    assert max(storm[:12]) > storm[-1]


def test_who_is_often_loud_must_be_louder() -> None:
    calm, loud = OwnScale(1.0, 5.0), OwnScale(1.0, 5.0)
    for pane in range(10 * PANES_PER_DAY):
        calm.add(0.5)
        loud.add(8.0 if pane % PANES_PER_DAY == 0 else 0.5)
    assert loud.add(6.0) < calm.add(6.0)


def test_season_is_shared_between_entities_and_working_days_are_not_weekends() -> None:
    season = PooledSeason("UTC", 10.0)
    for day in range(60):
        season.learn(START_MS + day * 86_400_000, [2.0, 1.0])
    wednesday, saturday = season.expected(START_MS), season.expected(START_MS + 3 * 86_400_000)
    assert wednesday > 0.5
    assert saturday > 0.5
    assert season.expected(START_MS + 12 * 3_600_000) == 0.0


def test_half_hours_follow_the_local_clock() -> None:
    july, january = 1_404_835_200_000, 1_389_196_800_000  # both 16:00 UTC on a Tuesday and a Wednesday
    assert day_slot(july, "America/New_York") == 24
    assert day_slot(january, "America/New_York") == 22
    assert day_slot(july + 4 * 86_400_000, "America/New_York") == 48 + 24


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=200))
def test_no_count_makes_a_score_that_is_no_number(counts: list[float]) -> None:
    assert all(math.isfinite(score) for score in play(counts))
