import math
from dataclasses import replace

import pytest

from pipeline.core.detector_config import DetectorConfig
from pipeline.core.prior import Tier
from pipeline.core.thresholds import OwnRate, observe, open_threshold
from pipeline.times import DAY_MS
from tests.unit.core.streams import START_MS

CONFIG = DetectorConfig(false_alerts_per_entity_day=0.005)
TIER = Tier(10.0, 0.3, threshold_base=2.0, threshold_scale=1.5, rate_at_base=0.02)


def test_without_history_it_is_the_tiers_law() -> None:
    assert open_threshold(OwnRate(START_MS), TIER, START_MS, CONFIG) == pytest.approx(2.0 + 1.5 * math.log(0.02 / 0.005))


def test_a_rarer_alert_needs_a_higher_score() -> None:
    rates = [0.02, 0.005, 0.001]
    thresholds = [open_threshold(OwnRate(0), TIER, 0, replace(CONFIG, false_alerts_per_entity_day=rate)) for rate in rates]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] == pytest.approx(2.0)


def lived(days: int, every: int) -> OwnRate:
    own = OwnRate(START_MS)
    for day in range(days):
        observe(own, START_MS + day * DAY_MS, 3.0 if day % every == 0 else 0.0, TIER, CONFIG)
    return own


def test_an_entity_that_exceeds_its_tier_is_asked_for_more_and_a_calm_one_for_less() -> None:
    end_ms = START_MS + 200 * DAY_MS
    tier = open_threshold(OwnRate(START_MS), TIER, end_ms, CONFIG)
    assert open_threshold(lived(200, 5), TIER, end_ms, CONFIG) > tier > open_threshold(lived(200, 1_000), TIER, end_ms, CONFIG)


def test_one_episode_a_cooldown() -> None:
    own = OwnRate(START_MS)
    for minute in range(60):
        observe(own, START_MS + minute * 60_000, 9.0, TIER, CONFIG)
    assert own.episodes == pytest.approx(1.0, abs=1e-3)


def test_an_episode_does_not_raise_its_own_bar_but_the_next_ones() -> None:
    before, after = lived(100, 1_000), lived(100, 1_000)
    begin = START_MS + 100 * DAY_MS
    observe(before, begin, 0.0, TIER, CONFIG)
    observe(after, begin, 3.0, TIER, CONFIG)
    thresholds = [[open_threshold(own, TIER, begin + ago, CONFIG) for own in (before, after)] for ago in (0, DAY_MS)]
    assert thresholds[0][1] == pytest.approx(thresholds[0][0])
    assert thresholds[1][1] > thresholds[1][0]


@pytest.mark.parametrize("silent_days", [1, 30, 400, 4_000])
def test_silence_counts_as_so_many_days_as_if_it_had_been_looked_at(silent_days: int) -> None:
    at_once, daily = lived(100, 10), lived(100, 10)
    for day in range(silent_days + 1):
        observe(daily, START_MS + (99 + day) * DAY_MS, 0.0, TIER, CONFIG)
    observe(at_once, START_MS + (99 + silent_days) * DAY_MS, 0.0, TIER, CONFIG)
    assert (at_once.days, at_once.episodes) == pytest.approx((daily.days, daily.episodes))
