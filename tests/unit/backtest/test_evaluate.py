"""Scores from alerts and truth, computed by hand."""

import numpy as np
import pytest

from pipeline.backtest.detections import detections, dominant_share, matched
from pipeline.backtest.evaluate import Spans, Truth, evaluate, quantiles
from pipeline.backtest.posts import ByEntity
from pipeline.backtest.prices import Prices
from pipeline.backtest.tiers import NEW, poisson_interval, tier_of_entity
from pipeline.backtest.truth import Incident, price_incidents
from pipeline.events import AlertStatus, Rule
from tests.unit.backtest.alarms import HOUR_MS, alert
from tests.unit.core.streams import DAY_MS, START_MS, background, flood, in_order, scored_post

TRAIN = (START_MS, START_MS + 10 * DAY_MS)
TEST = (START_MS + 10 * DAY_MS, START_MS + 20 * DAY_MS)
SPANS = Spans(test=TEST, train=TRAIN)
POSTS = ByEntity(in_order(background("A", 20, 40, 1), background("B", 20, 4, 2)))


def incident(entity: str, hour: float, hours: float = 2.0, kind: str = "negative_spike") -> Incident:
    begin = TEST[0] + int(hour * HOUR_MS)
    return Incident(entity, kind, begin, begin + int(hours * HOUR_MS))


def test_precision_recall_lead_and_delay_against_planted_truth() -> None:
    truth = Truth(planted=(incident("A", 10), incident("A", 50), incident("B", 10, kind="bot_flood")))
    alerts = [
        alert("hit", "A", TEST[0] + 10 * HOUR_MS + HOUR_MS // 2),
        alert("again", "A", TEST[0] + 14 * HOUR_MS),
        alert("trap", "B", TEST[0] + 10 * HOUR_MS + 1),
        alert("nothing", "A", TEST[0] + 100 * HOUR_MS),
        alert("training", "A", TRAIN[0] + HOUR_MS),
    ]
    scores = evaluate(alerts, POSTS, truth, SPANS, 0.05)
    assert scores.alerts == 4
    assert scores.precision == 0.5
    assert scores.recall == 0.5
    assert scores.lead_time_min["p50"] == 90.0
    assert scores.delay_min["p50"] == 30.0
    assert scores.alerts_per_entity_day == 4 / 20


def test_a_late_alert_within_three_hours_of_the_end_still_counts_and_a_later_one_does_not() -> None:
    truth = Truth(planted=(incident("A", 10),))
    end = truth.planted[0].to_ms if truth.planted else 0
    assert evaluate([alert("x", "A", end + 3 * HOUR_MS - 1)], POSTS, truth, SPANS, 0.05).recall == 1.0
    assert evaluate([alert("x", "A", end + 3 * HOUR_MS)], POSTS, truth, SPANS, 0.05).recall == 0.0


def test_an_alert_about_what_began_before_the_span_is_right_and_recall_does_not_count_it() -> None:
    before, hour = incident("A", -1.0), incident("A", 10)
    alerts = [alert("before", "A", TEST[0] + 10), alert("hit", "A", hour.from_ms + 1)]
    scores = evaluate(alerts, POSTS, Truth(planted=(before, hour)), SPANS, 0.05)
    assert (scores.precision, scores.recall) == (1.0, 1.0)
    assert scores.is_right == (True, True)
    assert sum(row.false_alerts for row in scores.tiers) == 0
    assert scores.summary()["incidents"] == 1
    assert evaluate(alerts[:1], POSTS, Truth(planted=(before, hour)), SPANS, 0.05).recall == 0.0
    late = [alert("late", "A", TEST[0] + HOUR_MS)]
    assert evaluate(late, POSTS, Truth(planted=(incident("A", -5, hours=1),)), SPANS, 0.05).precision == 0.0


def test_an_alert_tells_about_every_incident_it_lies_in() -> None:
    first, second, next_day = incident("A", 10, hours=4), incident("A", 12), incident("A", 30)
    steps = [
        alert("x", "A", second.from_ms + 1),
        alert("x", "A", next_day.from_ms + 1, revision=1, status=AlertStatus.ESCALATED),
    ]
    scores = evaluate(steps, POSTS, Truth(planted=(first, second, next_day)), SPANS, 0.05)
    assert (scores.precision, scores.recall) == (1.0, 1.0)
    assert sorted(scores.delays_min) == pytest.approx([1 / 60_000, 1 / 60_000, 120 + 1 / 60_000])


def test_visible_recall_leaves_out_incidents_that_nobody_wrote_about() -> None:
    silent, seen = incident("B", 0, hours=0.01), incident("A", 10, hours=10)
    scores = evaluate([alert("x", "A", seen.from_ms + 1)], POSTS, Truth(planted=(silent, seen)), SPANS, 0.05)
    assert (scores.recall, scores.visible_recall) == (0.5, 1.0)


def test_without_any_alert_or_truth_nothing_is_divided_by_zero() -> None:
    scores = evaluate([], POSTS, Truth(), SPANS, 0.05)
    summary = scores.summary()
    assert (summary["precision"], summary["recall"], summary["flood_share"]) == (None, None, None)
    assert summary["lead_time_min"] == {"p10": None, "p50": None, "p90": None}
    assert summary["alerts_per_entity_day"] == 0.0


def test_an_alert_counts_once_whatever_became_of_it_and_notices_do_not_count() -> None:
    steps = [
        alert("x", "A", TEST[0] + HOUR_MS),
        alert("x", "A", TEST[0] + 2 * HOUR_MS, revision=1, status=AlertStatus.ESCALATED, score=9.0),
        alert("x", "A", TEST[0] + 3 * HOUR_MS, revision=2, status=AlertStatus.RETRACTED),
        alert("flood", "A", TEST[0] + HOUR_MS, rule=Rule.COORDINATED_ACTIVITY),
    ]
    (found,) = detections(steps)
    assert (found.at_ms, found.peak) == (TEST[0] + HOUR_MS, 9.0)
    training = alert("t", "B", TRAIN[0] + HOUR_MS, rule=Rule.COORDINATED_ACTIVITY)
    assert evaluate([training, *steps], POSTS, Truth(), SPANS, 0.05).coordinated_notices == 1


def test_without_truth_no_alert_is_right_or_wrong() -> None:
    assert evaluate([alert("x", "A", TEST[0] + HOUR_MS)], POSTS, Truth(), SPANS, 0.05).precision is None


def make_prices(z: float) -> Prices:
    closes = np.array([TEST[0] + day * DAY_MS for day in range(1, 6)], dtype=np.int64)
    table = np.zeros((5, 1))
    table[2] = z
    return Prices(("A",), closes, table / 100, table)


@pytest.mark.parametrize(("z", "precision", "recall"), [(-3.5, 1.0, 1.0), (-2.5, 1.0, None), (-1.5, 0.0, None)])
def test_against_prices_an_alert_is_right_where_its_session_lost(z: float, precision: float, recall: float | None) -> None:
    prices = make_prices(z)
    truth = Truth(prices=prices, losses=price_incidents(prices, ["A", "B"]))
    scores = evaluate([alert("x", "A", TEST[0] + 2 * DAY_MS + HOUR_MS)], POSTS, truth, SPANS, 0.05)
    assert scores.prices is not None
    assert scores.prices.precision == scores.precision == precision
    assert scores.recall == recall
    assert scores.tiers[-1].false_alerts == 1


def test_alerts_without_a_price_are_left_out_of_the_precision() -> None:
    prices = make_prices(-3.5)
    truth = Truth(prices=prices, losses=price_incidents(prices, ["A"]))
    alerts = [alert("a", "A", TEST[0] + 2 * DAY_MS + 1), alert("b", "B", TEST[0] + 2 * DAY_MS + 1)]
    scores = evaluate(alerts, POSTS, truth, SPANS, 0.05)
    assert scores.prices is not None
    assert (scores.prices.evaluable_alerts, scores.prices.precision, scores.precision) == (1, 1.0, 1.0)
    assert scores.is_right == (True, None)
    assert scores.prices.base == pytest.approx(1 / 5)


def test_chance_is_that_of_prices_where_prices_judge_and_unknown_beside_a_file_of_truth() -> None:
    closes = np.array([TEST[0] + DAY_MS, TEST[0] + 2 * DAY_MS], dtype=np.int64)
    prices = Prices(("A",), closes, np.zeros((2, 1)), np.array([[-2.5], [0.0]]))
    assert evaluate([], POSTS, Truth(prices=prices), SPANS, 0.05).chance == 0.5
    assert evaluate([], POSTS, Truth(planted=(incident("A", 10),), prices=prices), SPANS, 0.05).chance is None


def test_an_alert_made_of_copies_is_flooded_and_one_of_many_contents_is_not() -> None:
    posts = ByEntity(in_order(flood("B", TEST[0], 30), background("A", 20, 40, 1)))
    copies = evaluate([alert("x", "B", TEST[0] + HOUR_MS)], posts, Truth(), SPANS, 0.05)
    variety = evaluate([alert("x", "A", TEST[0] + HOUR_MS)], posts, Truth(), SPANS, 0.05)
    assert (copies.flood_share, variety.flood_share) == (1.0, 0.0)


def test_dominance_counts_copies_by_negative_mass() -> None:
    near, far = 0b111, 0xFF << 40
    assert dominant_share([(0, 0.9), (near, 0.9), (0, 0.9), (far, 0.3)]) == pytest.approx(0.9)
    assert dominant_share([(0, 0.1), (0, 0.1), (0, 0.1), (far, 0.9)]) == pytest.approx(0.25)
    assert dominant_share([(0, 0.9), (0, 0.9), (far, 0.1)]) == 0.0
    assert dominant_share([]) == 0.0


@pytest.mark.slow
def test_tiers_come_from_the_training_span_and_newcomers_stand_apart() -> None:
    posts = [background(f"E{i}", 10, 2 + 4 * i, i) for i in range(20)]
    late = [scored_post("late", TEST[0], entity="Late")]
    tiers = tier_of_entity(ByEntity(in_order(*posts, late)), *TRAIN)
    assert tiers["Late"] == NEW
    assert [sum(tier == name for tier in tiers.values()) for name in ("light", "medium", "heavy")] == [10, 8, 2]
    assert tiers["E0"] == "light"
    assert tiers["E19"] == "heavy"


def test_rates_by_tier_are_against_the_target_and_their_intervals_hold_them() -> None:
    alerts = [alert(str(i), "A", TEST[0] + i * DAY_MS) for i in range(4)]
    rows = {row.tier: row for row in evaluate(alerts, POSTS, Truth(planted=()), SPANS, 0.2).tiers}
    heavy = next(row for row in rows.values() if row.alerts == 4)
    assert heavy.over_target == pytest.approx(4 / (0.2 * 10))
    assert heavy.low < heavy.over_target < heavy.high


def test_poisson_interval_is_that_of_the_tables() -> None:
    assert poisson_interval(0) == pytest.approx((0.0, 2.996), abs=0.03)
    assert poisson_interval(10) == pytest.approx((5.425, 16.962), abs=0.03)


def test_matching_ignores_other_entities() -> None:
    (found,) = matched(detections([alert("x", "B", TEST[0] + 10 * HOUR_MS)]), [incident("A", 10)], 0)
    assert found.hits == ()


def test_quantiles_interpolate() -> None:
    assert quantiles([0.0, 10.0]) == {"p10": pytest.approx(1.0), "p50": 5.0, "p90": pytest.approx(9.0)}
