"""Sessions, abnormal returns and losses from daily prices, holes included."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.backtest.exchange import NEW_YORK, read_exchange
from pipeline.backtest.prices import abnormal_returns, read_prices, sessions_of, standardised
from pipeline.backtest.truth import price_incidents
from pipeline.errors import ConfigurationError


def utc_ms(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def write_prices(path: Path, sessions: int = 90, fall_at: tuple[int, ...] = (), hole_at: tuple[int, ...] = ()) -> Path:
    """Write three tickers with small seeded moves; A falls by a tenth in some sessions, and lacks a price in others."""
    rng = np.random.default_rng(1)
    close = dict.fromkeys("ABC", 100.0)
    with path.open("w") as lines:
        for session in range(sessions):
            day = date(2014, 1, 1) + timedelta(days=session)
            for ticker in "ABC":
                close[ticker] *= 1 + rng.normal(0, 0.005) - (0.1 if ticker == "A" and session in fall_at else 0.0)
                if ticker != "A" or session not in hole_at:
                    lines.write(json.dumps({"ticker": ticker, "date": day.isoformat(), "adj_close": close[ticker]}) + "\n")
    return path


def test_sessions_close_at_16_in_new_york_summer_and_winter() -> None:
    assert NEW_YORK.close_ms(date(2014, 1, 2)) == utc_ms("2014-01-02T21:00")
    assert NEW_YORK.close_ms(date(2014, 7, 2)) == utc_ms("2014-07-02T20:00")
    assert NEW_YORK.is_open(utc_ms("2014-07-02T13:30"))
    assert not NEW_YORK.is_open(utc_ms("2014-01-02T14:29"))
    assert not NEW_YORK.is_open(utc_ms("2014-07-05T15:00"))


def test_a_post_belongs_to_the_session_whose_close_follows(tmp_path: Path) -> None:
    prices = read_prices(write_prices(tmp_path / "p.jsonl", sessions=30))
    assert prices.session_of(utc_ms("2014-01-03T20:59:59")) == 2
    assert prices.session_of(utc_ms("2014-01-03T21:00:00")) == 3
    assert prices.session_of(utc_ms("2015-01-01")) == -1


def test_prices_of_another_exchange_are_of_its_own_sessions(tmp_path: Path) -> None:
    shanghai = read_exchange("Asia/Shanghai", "09:30-15:00")
    prices = read_prices(write_prices(tmp_path / "p.jsonl", sessions=30), shanghai)
    assert prices.session_of(utc_ms("2014-01-03T06:59:59")) == 2  # 14:59:59 of January 3rd there
    assert prices.session_of(utc_ms("2014-01-03T07:00:00")) == 3
    assert shanghai.is_open(utc_ms("2014-01-03T01:30:00"))
    assert not shanghai.is_open(utc_ms("2014-01-03T15:00:00"))


@pytest.mark.parametrize("hours", ["", "09:30", "16:00-09:30", "09:30-16:00-17:00", "nine-five"])
def test_hours_that_no_exchange_has_are_refused_with_the_form(hours: str) -> None:
    with pytest.raises(ConfigurationError, match=r"--hours .* write them like 09:30-16:00"):
        read_exchange("Asia/Shanghai", hours)


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "", "America"])
def test_an_unknown_time_zone_is_refused(timezone: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--timezone '{timezone}' is not known"):
        read_exchange(timezone, "09:30-16:00")


def test_abnormal_return_is_against_the_mean_of_all_tickers() -> None:
    abnormal = abnormal_returns(np.array([[100.0, 100.0], [110.0, 100.0], [110.0, np.nan], [121.0, 100.0]]))
    assert abnormal[1].tolist() == pytest.approx([0.05, -0.05])
    assert abnormal[2].tolist() == pytest.approx([0.0, np.nan], nan_ok=True)
    assert abnormal[3].tolist() == pytest.approx([0.0, np.nan], nan_ok=True)


def test_deviation_uses_the_sessions_before_alone() -> None:
    rng = np.random.default_rng(0)
    abnormal = rng.normal(0, 1, (80, 1))
    changed = abnormal.copy()
    changed[70:] = 50.0
    assert np.array_equal(standardised(abnormal)[:70], standardised(changed)[:70], equal_nan=True)
    assert standardised(changed)[70, 0] == pytest.approx(50.0 / abnormal[10:70, 0].std(ddof=1))
    assert np.isnan(standardised(abnormal)[:20]).all()


def test_losses_within_three_sessions_are_one_incident_from_close_to_close(tmp_path: Path) -> None:
    prices = read_prices(write_prices(tmp_path / "p.jsonl", fall_at=(60, 62, 80)))
    losses = price_incidents(prices, ["A", "B", "unknown"])
    assert [loss.entity for loss in losses] == ["A", "A"]
    assert losses[0].from_ms == prices.closes_ms[59]
    assert losses[0].to_ms == prices.closes_ms[62]
    assert losses[1].to_ms - losses[1].from_ms == 86_400_000


def test_no_return_is_computed_over_a_hole(tmp_path: Path) -> None:
    whole = read_prices(write_prices(tmp_path / "a.jsonl", fall_at=(60,)))
    holed = read_prices(write_prices(tmp_path / "b.jsonl", fall_at=(60,), hole_at=(59, 70)))
    assert whole.z[60, 0] < -3
    assert np.isnan(holed.z[[59, 60, 70, 71], 0]).all()
    assert not np.isnan(holed.z[72, 0])
    assert price_incidents(holed, ["A"]) == ()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"date": "2014-01-01", "close": 1.0}, "line 1: field 'ticker' is missing"),
        ({"ticker": "A", "date": "01/02/2014", "close": 1.0}, "is not a date; write it as YYYY-MM-DD"),
        ({"ticker": "A", "date": "2014-01-01", "close": "12"}, "is not a number; leave it out for a hole"),
    ],
)
def test_lines_that_cannot_be_used_are_named(tmp_path: Path, row: dict[str, object], message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ConfigurationError, match=message):
        read_prices(path)


def test_null_zero_and_absent_prices_are_holes(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    rows = [
        {"ticker": "A", "date": f"2014-01-0{day}", "close": close} for day, close in ((1, 1.0), (2, None), (3, 0.0), (4, 2.0))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert np.isnan(read_prices(path).abnormal).all()


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("\n")
    with pytest.raises(ConfigurationError, match="holds no prices"):
        read_prices(path)


def test_a_file_whose_closes_have_another_name_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "p.jsonl", {"ticker": "A", "date": "2014-01-01", "Close": 1.0})
    with pytest.raises(ConfigurationError, match=r"no line of .*p\.jsonl has a close or adj_close above 0; name the closing"):
        read_prices(path)


def write_rows(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def daily(path: Path, *changes: dict[str, object]) -> Path:
    """Write 30 days of A, adjusted for a split, and of B, and then more lines."""
    rows: list[dict[str, object]] = []
    for n in range(30):
        day = (date(2014, 1, 1) + timedelta(days=n)).isoformat()
        adjusted = 100.0 + n % 3
        rows += [{"ticker": "A", "date": day, "close": 5 * adjusted, "adj_close": adjusted}]
        rows += [{"ticker": "B", "date": day, "close": 50.0 + n % 2}]
    return write_rows(path, *rows, *changes)


@pytest.mark.parametrize("absent", [{"adj_close": None}, {}])
def test_an_unadjusted_close_does_not_fill_a_hole_of_adjusted_ones(tmp_path: Path, absent: dict[str, object]) -> None:
    adjusted = [{"ticker": "A", "date": f"2014-01-{day:02}", "adj_close": 100.0 + day} for day in range(1, 10)]
    adjusted[4] = {"ticker": "A", "date": "2014-01-05", "close": 525.0} | absent
    plain = [{"ticker": "B", "date": f"2014-01-{day:02}", "close": 50.0} for day in range(1, 10)]
    abnormal = read_prices(write_rows(tmp_path / "p.jsonl", *adjusted, *plain)).abnormal
    assert np.isnan(abnormal[:, 0]).tolist() == [True, False, False, False, True, True, False, False, False]
    assert not np.isnan(abnormal[1:, 1]).any()


def test_two_closes_of_one_day_are_refused_and_the_same_said_twice_is_not(tmp_path: Path) -> None:
    again = {"ticker": "A", "date": "2014-01-05", "adj_close": 101.0}
    once = read_prices(daily(tmp_path / "once.jsonl"))
    hole = again | {"adj_close": None}
    twice = read_prices(daily(tmp_path / "twice.jsonl", again, hole))
    assert np.array_equal(once.abnormal, twice.abnormal, equal_nan=True)
    message = "p.jsonl line 61: A on 2014-01-05 closes at 1, and at 101 in an earlier line; remove one"
    with pytest.raises(ConfigurationError, match=message):
        read_prices(daily(tmp_path / "p.jsonl", again | {"adj_close": 1.0}))


@pytest.mark.parametrize("close", [1e308, 1e-300, 10**400])
def test_closes_that_no_price_has_are_refused(tmp_path: Path, close: float) -> None:
    path = daily(tmp_path / "p.jsonl", {"ticker": "C", "date": "2014-01-05", "close": close})
    with pytest.raises(ConfigurationError, match="line 61: close = .* is no price of 1e-09 to 1e.12; leave it out for a hole"):
        read_prices(path)


@pytest.mark.parametrize("ticker", [None, True, "", 1.5])
def test_a_ticker_without_a_name_is_refused(tmp_path: Path, ticker: object) -> None:
    path = write_rows(tmp_path / "p.jsonl", {"ticker": ticker, "date": "2014-01-05", "close": 1.0})
    with pytest.raises(ConfigurationError, match="line 1: ticker = .* is no name; write it as text"):
        read_prices(path)


def test_a_ticker_that_trades_at_the_weekend_takes_no_day_from_the_others(tmp_path: Path) -> None:
    days = [date(2014, 1, 1) + timedelta(days=n) for n in range(90)]
    rng = np.random.default_rng(2)
    stocks: list[dict[str, object]] = [
        {"ticker": ticker, "date": day.isoformat(), "close": 100.0 + rng.normal()}
        for day in days
        if day.weekday() < 5
        for ticker in "ABC"
    ]
    coin: list[dict[str, object]] = [{"ticker": "COIN", "date": day.isoformat(), "close": 500.0} for day in days]
    alone, together = (
        read_prices(write_rows(tmp_path / name, *rows)) for name, rows in (("a.jsonl", stocks), ("t.jsonl", stocks + coin))
    )
    assert np.array_equal(together.closes_ms, alone.closes_ms)
    assert np.array_equal(np.isfinite(together.z[:, :3]), np.isfinite(alone.z))
    assert together.left_out == tuple(day for day in days if day.weekday() >= 5)


def test_a_ticker_that_began_late_or_ended_early_makes_no_day_a_holiday() -> None:
    closes = np.full((6, 3), np.nan)
    closes[:, 0] = 1.0
    closes[3:, 1:] = 1.0
    assert sessions_of(closes).all()
    closes[4, 1:] = np.nan
    assert sessions_of(closes).tolist() == [True, True, True, True, False, True]
