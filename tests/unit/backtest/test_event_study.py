"""The event study finds a loss that is there, and none that is not."""

import numpy as np
import pytest

from pipeline.backtest.event_study import DRAWS, OFFSETS, event_study
from pipeline.backtest.prices import Prices

DAY_MS = 86_400_000
SESSIONS = 200


def make_prices(loss: float, sessions: list[int]) -> Prices:
    abnormal = np.random.default_rng(5).normal(0, 0.01, (SESSIONS, 2))
    abnormal[sessions, 0] += loss
    closes = np.arange(1, SESSIONS + 1, dtype=np.int64) * DAY_MS
    return Prices(("A", "B"), closes, abnormal, abnormal / 0.01)


SPAN = (50 * DAY_MS, 190 * DAY_MS)
DAYS = [60, 80, 100, 120, 140]
ALERTS = [("A", day * DAY_MS + 1) for day in DAYS]


def test_a_loss_on_the_alerts_own_session_stands_out_from_the_placebo() -> None:
    study = event_study(make_prices(-0.05, DAYS), ALERTS, SPAN, seed=1)
    assert study is not None
    at = OFFSETS.index(0)
    assert study.mean[at] == pytest.approx(-0.05, abs=0.01)
    assert study.mean[at] < study.placebo_low[at] < study.placebo_high[at]
    assert study.p_same_day == pytest.approx(1 / (DRAWS + 1))


def test_alerts_at_random_look_like_the_placebo() -> None:
    study = event_study(make_prices(0.0, DAYS), ALERTS, SPAN, seed=1)
    assert study is not None
    assert study.p_same_day > 0.05


def test_equal_seeds_give_equal_placebos() -> None:
    one, two, other = (event_study(make_prices(0.0, DAYS), ALERTS, SPAN, seed) for seed in (1, 1, 2))
    assert one is not None
    assert two is not None
    assert other is not None
    assert np.array_equal(one.placebo_low, two.placebo_low)
    assert not np.array_equal(one.placebo_low, other.placebo_low)


def test_alerts_without_prices_have_no_study_and_holes_do_not_count() -> None:
    prices = make_prices(-0.05, DAYS)
    assert event_study(prices, [("unknown", 60 * DAY_MS)], SPAN, 1) is None
    prices.abnormal[60, 0] = np.nan
    assert event_study(prices, ALERTS[:1], SPAN, 1) is None
    study = event_study(prices, ALERTS, SPAN, 1)
    assert study is not None
    assert study.alerts == len(ALERTS) - 1
    assert np.isfinite(study.mean).all()
