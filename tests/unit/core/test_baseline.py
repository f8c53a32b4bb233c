from dataclasses import replace

import pytest

from pipeline.core.baseline import absorb, expectation, fresh
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.panes import ZERO, Pane
from pipeline.core.prior import Prior
from pipeline.core.seasonality import SLOTS, SeasonalProfile
from pipeline.times import DAY_MS, HOUR_MS, iso_ms
from tests.unit.core.streams import START_MS

CONFIG = DetectorConfig()


def pane(start_ms: int, negative: float, effective: int, frozen: bool = False) -> Pane:
    return Pane(start_ms, effective, effective, negative, 0.0, 0, 0, effective, (), (), "m", "1", ZERO, frozen)


def learned(days: int, negative: float = 0.5, every_ms: int = 2 * HOUR_MS, config: DetectorConfig = CONFIG):  # type: ignore[no-untyped-def]
    baseline = fresh(START_MS)
    for start in range(START_MS, START_MS + days * DAY_MS, every_ms):
        absorb(baseline, pane(start, negative, 1), config)
    return baseline


def test_an_unknown_entity_is_its_groups() -> None:
    expected = expectation(fresh(START_MS), START_MS, CONFIG)
    assert expected.negative_per_day == CONFIG.prior.negative_per_day
    assert expected.share == CONFIG.prior.negative_share
    assert expected.age_ms == 0


def test_a_steady_entity_is_known_after_weeks() -> None:
    expected = expectation(learned(60), START_MS + 60 * DAY_MS, CONFIG)
    assert expected.posts_per_day == pytest.approx(12, rel=0.05)
    assert expected.negative_per_day == pytest.approx(6, rel=0.12)
    assert expected.share == pytest.approx(0.5, abs=0.03)


def test_silence_lowers_the_level_and_one_long_gap_is_many_short_ones() -> None:
    baseline = learned(30)
    now = START_MS + 30 * DAY_MS
    levels = [expectation(baseline, now + days * DAY_MS, CONFIG).negative_per_day for days in (0, 5, 10, 40, 400)]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] == pytest.approx(CONFIG.prior.negative_per_day / 21.2, rel=0.05)


def test_a_burst_is_winsorised() -> None:
    calm, burst = learned(30), learned(30)
    at = START_MS + 30 * DAY_MS
    absorb(calm, pane(at, 1.0, 1), CONFIG)
    absorb(burst, pane(at, 50.0, 50), CONFIG)
    assert burst.negative - calm.negative < 2.0


def test_panes_of_an_open_alert_do_not_count() -> None:
    baseline = learned(30)
    before = baseline.copy()
    absorb(baseline, pane(START_MS + 30 * DAY_MS, 3.0, 3, frozen=True), CONFIG)
    assert baseline.negative <= before.negative
    assert baseline.posts <= before.posts


def test_a_long_gap_makes_young_again() -> None:
    baseline = learned(30)
    back = START_MS + 60 * DAY_MS
    assert expectation(baseline, back, CONFIG).age_ms == CONFIG.cold_start_ms
    absorb(baseline, pane(back, 0.5, 1), CONFIG)
    assert expectation(baseline, back + DAY_MS, CONFIG).age_ms == CONFIG.cold_start_ms + DAY_MS


def test_a_profile_moves_expectation_to_the_busy_hours() -> None:
    factors = tuple(2.0 if slot % 48 < 24 else 0.0 for slot in range(SLOTS))
    profile = SeasonalProfile("UTC", factors)
    midnight = 1_704_067_200_000  # Monday
    assert profile.exposure(midnight, midnight + DAY_MS) == pytest.approx(DAY_MS)
    assert profile.exposure(midnight, midnight + 12 * HOUR_MS) == pytest.approx(DAY_MS)
    assert profile.exposure(midnight + 12 * HOUR_MS, midnight + DAY_MS) == pytest.approx(0)
    assert profile.exposure(midnight, midnight + 7 * DAY_MS) == pytest.approx(7 * DAY_MS)


def test_exchange_time_follows_summer_time() -> None:
    opening = tuple(48.0 * 7 if slot == 19 else 0.0 for slot in range(SLOTS))  # Monday 9:30 to 10:00
    profile = SeasonalProfile("America/New_York", opening)
    winter, summer = 1_704_724_200_000, 1_720_445_400_000  # Mondays at 9:30 in New York: 14:30 and 13:30 UTC
    for start in (winter, summer):
        assert profile.exposure(start, start + HOUR_MS // 2) == pytest.approx(48 * 7 * HOUR_MS / 2)
        assert profile.exposure(start - HOUR_MS, start) == pytest.approx(0)


@pytest.mark.parametrize(
    "profile", [SeasonalProfile(), SeasonalProfile("Asia/Kathmandu", tuple(0.5 + n % 3 for n in range(SLOTS)))]
)
def test_the_exposures_of_several_windows_are_those_of_each(profile: SeasonalProfile) -> None:
    sizes, end_ms = (HOUR_MS // 4, HOUR_MS, 8 * DAY_MS), START_MS + 123_456
    assert profile.exposures(sizes, end_ms) == [profile.exposure(end_ms - size, end_ms) for size in sizes]


def test_a_single_post_is_never_cut() -> None:
    baseline = learned(60)
    before = replace(baseline)
    absorb(baseline, pane(baseline.as_of_ms, 1.0, 1), CONFIG)
    assert (baseline.negative, baseline.posts) == (before.negative + 1.0, before.posts + 1.0)


def test_a_seasonal_level_is_per_day_of_mean_activity() -> None:
    factors = tuple(2.0 if slot % 48 < 24 else 0.0 for slot in range(SLOTS))
    config = replace(CONFIG, prior=Prior(season=SeasonalProfile("UTC", factors)))
    assert expectation(learned(60, config=config), START_MS + 60 * DAY_MS, config).posts_per_day == pytest.approx(12, rel=0.1)


@pytest.mark.parametrize("day", ["2024-11-03", "2024-03-10"])
def test_an_hour_that_comes_twice_or_never_is_exposed_as_often(day: str) -> None:
    """New York put its clocks back on the first of these days, from 2 to 1 in the morning, and forward on the second."""
    profile = SeasonalProfile("America/New_York", tuple(1 + slot % 48 / 10 for slot in range(SLOTS)))
    midnight = iso_ms(f"{day}T05:00:00Z" if day < "2024-04" else f"{day}T04:00:00Z")
    for begin in range(midnight, midnight + 6 * HOUR_MS, HOUR_MS // 12):
        for size in (HOUR_MS // 4, HOUR_MS, 3 * HOUR_MS, DAY_MS):
            minutes = range(begin, begin + size, 60_000)
            exposed = sum(profile.factors[profile.slot_of(minute)] for minute in minutes) * 60_000
            assert profile.exposure(begin, begin + size) == pytest.approx(exposed)
            assert profile.exposures([size], begin + size) == [profile.exposure(begin, begin + size)]
