"""What a training span teaches, and that nothing behind it does."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.backtest.excess import LEAST_LEVEL, TierScores, episodes, exceedance_law
from pipeline.backtest.fit import fit_prior, fit_season
from pipeline.backtest.sharded import prepare_here
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.prior import Prior
from tests.unit.core.streams import DAY_MS, START_MS, background, flood, in_order, scored_post, shift

CONFIG = DetectorConfig()
SPAN = (START_MS, START_MS + 14 * DAY_MS)
HOUR_MS = 3_600_000


def test_nothing_behind_the_span_is_learned() -> None:
    posts = in_order(background("A", 14, 30, 1), background("B", 14, 5, 2))
    later = in_order(posts, shift("A", SPAN[1] + HOUR_MS, 40))
    assert fit_prior(later, SPAN, CONFIG, "UTC") == fit_prior(posts, SPAN, CONFIG, "UTC")


def test_levels_and_share_are_those_of_the_posts() -> None:
    prior = fit_prior(in_order(background("A", 14, 30, 1), background("B", 14, 30, 2)), SPAN, CONFIG, "UTC")
    assert prior.posts_per_day == pytest.approx(30, rel=0.15)
    assert prior.negative_share == pytest.approx(0.2 * 0.9 + 0.8 * 0.05, rel=0.2)
    assert prior.version.startswith("fitted-")
    assert all(0.02 <= tier.dispersion <= 2.0 and tier.threshold_base >= LEAST_LEVEL for tier in prior.tiers)
    assert prior.tiers[-1].posts_per_day == Prior().tiers[-1].posts_per_day


def test_an_empty_span_leaves_the_prior_as_it_was() -> None:
    assert fit_prior([scored_post("1", SPAN[1])], SPAN, CONFIG, "UTC") is CONFIG.prior


def test_a_span_of_cold_starts_teaches_no_threshold_and_one_with_a_history_before_it_does() -> None:
    posts = in_order(*(background(f"E{i}", 14, 12, i) for i in range(6)))
    cold = fit_prior(posts, (START_MS, START_MS + 4 * DAY_MS), CONFIG, "UTC")
    built_in = CONFIG.prior.tiers[-1]
    assert cold.version.startswith("fitted-")
    assert replace(cold.tiers[-1], posts_per_day=built_in.posts_per_day) == built_in
    warm = fit_prior(posts, (START_MS + 10 * DAY_MS, START_MS + 14 * DAY_MS), CONFIG, "UTC")
    assert warm.tiers[-1].threshold_base != built_in.threshold_base


def test_less_than_a_week_teaches_no_season() -> None:
    posts = in_order(background("A", 8, 30, 1))
    assert fit_prior(posts, (START_MS, START_MS + 6 * DAY_MS), CONFIG, "UTC").season == CONFIG.prior.season
    assert fit_prior(posts, (START_MS, START_MS + 7 * DAY_MS), CONFIG, "UTC").season != CONFIG.prior.season


def test_copies_count_once() -> None:
    found = prepare_here(in_order(flood("B", START_MS, 60), background("A", 1, 40, 1))).volumes(SPAN, CONFIG)
    assert found["B"].posts == 1
    assert not prepare_here([scored_post("1", SPAN[0], entity="C", text="$A $B $C $D")]).volumes(SPAN, CONFIG)
    assert found["A"].posts > 20


def test_season_has_mean_one_follows_the_hours_and_working_days_share_a_shape() -> None:
    counts = np.zeros((7, 48))
    counts[:, 20:30] = 100.0
    counts[5:, :] = 10.0
    season = fit_season(counts.ravel().tolist(), "UTC")
    factors = np.array(season.factors).reshape(7, 48)
    assert factors.mean() == pytest.approx(1.0)
    assert factors[0, 25] > 3 * factors[0, 2]
    assert factors[5, 25] == pytest.approx(factors[6, 2], rel=0.05)
    assert factors.min() > 0


def test_few_posts_of_a_weekday_are_pulled_to_the_working_day() -> None:
    counts = np.zeros((7, 48))
    counts[:5, 20] = 10.0
    counts[2, 20] = 0.0
    factors = np.array(fit_season(counts.ravel().tolist(), "UTC").factors).reshape(7, 48)
    assert factors[2, 20] > 0.25 * factors[1, 20]


def test_episodes_open_at_the_level_and_last_a_cooldown() -> None:
    series = [(0, 1.0), (1, 5.0), (5, 7.0), (11, 2.0), (12, 6.0)]
    assert episodes(series, 5.0, 10) == [7.0, 6.0]
    assert episodes(series, 7.0, 10) == [7.0]
    assert episodes(series, 8.0, 10) == []


def test_the_law_gives_back_the_rate_of_exponential_scores() -> None:
    rng = np.random.default_rng(2)
    days = 20_000
    scores = [(day * DAY_MS, float(score)) for day, score in enumerate(rng.exponential(0.7, days))]
    (law,) = exceedance_law([TierScores(days, [scores])], 0.005)
    level = law.base + law.scale * np.log(law.rate / 0.001)
    assert law.scale == pytest.approx(0.7, rel=0.1)
    assert sum(score >= level for _, score in scores) / days == pytest.approx(0.001, rel=0.5)


def test_where_support_is_rarer_than_wanted_the_threshold_stays_above_zero() -> None:
    (law,) = exceedance_law([TierScores(10_000, [[(0, 0.2)]])], 0.005)
    assert law.base == LEAST_LEVEL
    assert law.rate < 0.005


def test_a_span_too_short_to_see_anything_promises_nothing() -> None:
    (silent,) = exceedance_law([TierScores(10, [])], 0.005)
    assert silent.base + silent.scale * np.log(silent.rate / 0.005) > 3
    few = TierScores(10, [[(day * DAY_MS, 1.0 + day / 10) for day in range(8)]])
    (law,) = exceedance_law([few], 0.005)
    assert law.rate == pytest.approx(0.5)
    assert law.base + law.scale * np.log(law.rate / 0.005) > 1.8 + 2


def test_thin_tiers_borrow_the_scale_of_all() -> None:
    rng = np.random.default_rng(2)
    thick = TierScores(5_000, [[(day * DAY_MS, float(s)) for day, s in enumerate(rng.exponential(1.0, 5_000))]])
    thin = TierScores(100, [[(0, 9.0)]])
    thick_law, thin_law = exceedance_law([thick, thin], 0.005)
    alone = exceedance_law([thin], 0.005)[0]
    assert abs(thin_law.scale - thick_law.scale) < abs(alone.scale - thick_law.scale)


@pytest.mark.slow
def test_fitted_thresholds_realise_about_the_wanted_rate() -> None:
    from pipeline.backtest.detections import detections
    from pipeline.backtest.run import run

    posts = in_order(*(background(f"E{i}", 60, 25, i) for i in range(6)))
    wanted = 0.05
    config = replace(CONFIG, false_alerts_per_entity_day=wanted)
    half = START_MS + 30 * DAY_MS
    fitted = replace(config, prior=fit_prior(posts, (START_MS + 3 * DAY_MS, half), config, "UTC"))
    alerts = [found for found in detections(run(posts, fitted).alerts) if found.at_ms >= half]
    assert 0.3 < len(alerts) / (6 * 30) / wanted < 2.5
