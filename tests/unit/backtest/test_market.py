"""The market in a backtest: what it said, in numbers and on the page; no text of any post."""

from dataclasses import replace

import pytest

from pipeline.backtest.evaluate import Spans, Truth, evaluate
from pipeline.backtest.market import MarketAlert, days_of_markets, market_alerts
from pipeline.backtest.posts import ByEntity
from pipeline.backtest.report import ReportInput, pictures, render
from pipeline.backtest.run import run
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.market_rules import BY_EXCHANGE, OFF, MarketRules
from tests.unit.core.streams import DAY_MS, HOUR_MS, START_MS, background, in_order, market_drop, shift

CONFIG = DetectorConfig()
NAMES = [f"E{n:02}" for n in range(20)]
DROP_MS = START_MS + 9 * DAY_MS + 15 * HOUR_MS
SPAN = (START_MS + 5 * DAY_MS, START_MS + 10 * DAY_MS)
POSTS = in_order(
    *(background(name, 9.9, 6, n) for n, name in enumerate(NAMES)), market_drop(NAMES, DROP_MS), shift("E03", DROP_MS, 14)
)


@pytest.fixture(scope="module")
def heard() -> list[MarketAlert]:
    found = market_alerts(POSTS, CONFIG, SPAN)
    assert found is not None
    return found


@pytest.mark.slow
def test_the_markets_alerts_of_the_span_are_told_with_members_and_who_stands_out(heard: list[MarketAlert]) -> None:
    (told,) = [alert.summary() for alert in heard]
    assert told["market"] == "market:all"
    assert DROP_MS < told["opened_ms"] < DROP_MS + HOUR_MS < told["ended_ms"]
    assert told["status"] == "resolved"
    assert told["exceeding"] == len(told["members"]) <= told["entities"] == len(NAMES)
    assert told["own"] == ["E03"] == told["members"][:1]
    assert market_alerts(POSTS, CONFIG, (SPAN[0], DROP_MS)) == []


def test_without_markets_nothing_is_told_of_them() -> None:
    assert market_alerts(POSTS, replace(CONFIG, market=MarketRules(groups=OFF)), SPAN) is None


def test_the_days_of_a_market_are_the_sums_over_its_members() -> None:
    trends = run(POSTS, CONFIG).trends
    (days,) = days_of_markets(trends, (START_MS, SPAN[1]), CONFIG).values()
    assert sum(day.posts for day in days) == len(POSTS)
    assert max(days, key=lambda day: day.negative).start_ms == DROP_MS - DROP_MS % DAY_MS
    by_exchange = replace(CONFIG, market=MarketRules(groups=BY_EXCHANGE))
    other = [trend.model_copy(update={"entity": "0700.HK"}) if trend.entity == "E00" else trend for trend in trends]
    assert set(days_of_markets(other, SPAN, by_exchange)) == {"market:HK", "market:other"}


@pytest.mark.slow
def test_the_page_shows_the_market(heard: list[MarketAlert]) -> None:
    ran = run(POSTS, CONFIG)
    spans = Spans(test=SPAN, train=(START_MS, SPAN[0]))
    scores = evaluate(ran.alerts, ByEntity(POSTS), Truth(), spans, CONFIG.false_alerts_per_entity_day)
    days = days_of_markets(ran.trends, SPAN, CONFIG)
    shown = ReportInput("t", scores, ran.trends, SPAN, CONFIG.prior, (), None, {}, heard, days)
    drawn = pictures(shown)
    page = render(shown, drawn)
    assert "<h2>Markets</h2>" in page
    assert f"<td>{', '.join(heard[0].own)}</td>" in page
    assert 'alt="market-all"' in page
    assert "market" not in {alert.rule for alert in ran.alerts}
    without = replace(shown, market=None, market_days={})
    assert "Markets" not in render(without, pictures(without))
