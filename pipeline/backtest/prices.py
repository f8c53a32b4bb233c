"""Daily prices as truth: which trading sessions brought a ticker an abnormal loss.

The abnormal return is the return less the mean return of all tickers of that session; ``z`` divides it by its own standard
deviation over the 60 sessions before. A post belongs to the session whose close follows it, in exchange time.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.adapters.json_lines import read_objects
from pipeline.backtest.exchange import NEW_YORK, Exchange
from pipeline.errors import ConfigurationError
from pipeline.times import DAY_MS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]

VOLATILITY_SESSIONS = 60
LEAST_SESSIONS = 20  # below this a standard deviation says little
LEAST_CLOSE, MOST_CLOSE = 1e-9, 1e12  # in any currency; beyond them returns leave what floats can tell


@dataclass(frozen=True)
class Prices:
    """Closing prices and what follows from them.

    tickers: (k,), ascending. closes_ms: (n,), the end of each session, ascending. abnormal, z: (n, k), NaN where a price
    is missing on that day or the day before, or where the history is too short. left_out: days with prices that are no session.
    """

    tickers: tuple[str, ...]
    closes_ms: Ints
    abnormal: Floats
    z: Floats
    left_out: tuple[date, ...] = ()

    def session_of(self, time_ms: int) -> int:
        """Return the index of the first session that closes after ``time_ms``; -1 when the prices end before."""
        index = int(np.searchsorted(self.closes_ms, time_ms, side="right"))
        return index if index < len(self.closes_ms) else -1

    def column(self, ticker: str) -> int:
        """Return the column of a ticker, or -1."""
        index = int(np.searchsorted(np.array(self.tickers), ticker))
        return index if index < len(self.tickers) and self.tickers[index] == ticker else -1

    def z_at(self, ticker: str, time_ms: int) -> float:
        """Return ``z`` of the session a post of that time belongs to; NaN where it is not known."""
        session, column = self.session_of(time_ms), self.column(ticker)
        return float("nan") if session < 0 or column < 0 else float(self.z[session, column])

    def window_ms(self, first: int, last: int) -> tuple[int, int]:
        """Return [start, end) of the posts that belong to the sessions ``first`` to ``last``."""
        start = int(self.closes_ms[first - 1]) if first > 0 else int(self.closes_ms[0]) - DAY_MS
        return start, int(self.closes_ms[last])


def read_prices(path: Path, exchange: Exchange = NEW_YORK) -> Prices:
    """Return the prices of a file of JSON lines: ticker, date (of the exchange), close, and adj_close where splits matter.

    A ticker is read by its adjusted closes where it has any. A day that is missing, empty or not positive is a hole: no
    return is computed over it. A day on which some tickers have a price, but fewer than half of those that had begun and not
    ended, is no session: one that trades at the weekend would make holes for all others.
    """
    closes = _closes(list(_rows(path)))
    if not closes:
        raise ConfigurationError(f"prices: {path} holds no prices; expected JSON lines with ticker, date, close")
    if all(map(isnan, closes.values())):
        raise ConfigurationError(f"prices: no line of {path} has a close or adj_close above 0; name the closing price so")
    tickers = tuple(sorted({ticker for ticker, _ in closes}))
    days = sorted({day for _, day in closes})
    matrix = np.array([[closes.get((ticker, day), np.nan) for ticker in tickers] for day in days], dtype=np.float64)
    kept = sessions_of(matrix)
    abnormal = abnormal_returns(matrix[kept])
    closes_ms = np.array([exchange.close_ms(day) for day, keep in zip(days, kept, strict=True) if keep], dtype=np.int64)
    left_out = tuple(day for day, keep in zip(days, kept, strict=True) if not keep)
    return Prices(tickers, closes_ms, abnormal, standardised(abnormal), left_out)


class _Row(NamedTuple):
    where: str
    ticker: str
    day: date
    close: Any
    adj_close: Any


def _rows(path: Path) -> Iterator[_Row]:
    for where, row in read_objects(path):
        try:
            ticker, day = row["ticker"], date.fromisoformat(row["date"])
        except KeyError as error:
            raise ConfigurationError(f"prices: {where}: field {error} is missing; a line needs ticker and date") from None
        except (TypeError, ValueError):
            fix = "write it as YYYY-MM-DD"
            raise ConfigurationError(f"prices: {where}: date = {row['date']!r} is not a date; {fix}") from None
        if isinstance(ticker, bool) or not isinstance(ticker, str | int) or ticker == "":
            raise ConfigurationError(f"prices: {where}: ticker = {json.dumps(ticker)} is no name; write it as text")
        yield _Row(f"prices: {where}", str(ticker), day, row.get("close"), row.get("adj_close"))


def _closes(rows: Sequence[_Row]) -> dict[tuple[str, date], float]:
    """Return the close of each ticker and day, NaN for a hole."""
    adjusted = {row.ticker for row in rows if row.adj_close is not None}
    closes: dict[tuple[str, date], float] = {}
    for row in rows:
        key = row.ticker, row.day
        close = _positive_or_hole(row.adj_close if row.ticker in adjusted else row.close, row.where)
        before = closes.get(key, np.nan)
        if not (isnan(close) or isnan(before) or close == before):
            why = f"{row.ticker} on {row.day} closes at {close:g}, and at {before:g} in an earlier line; remove one"
            raise ConfigurationError(f"{row.where}: {why}")
        closes[key] = before if isnan(close) else close
    return closes


def _positive_or_hole(value: Any, where: str) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"{where}: close = {json.dumps(value)} is not a number; leave it out for a hole")
    if not 0 < value < float("inf"):
        return float("nan")
    if not LEAST_CLOSE <= value <= MOST_CLOSE:
        shown = json.dumps(value)[:20]
        raise ConfigurationError(
            f"{where}: close = {shown} is no price of {LEAST_CLOSE:g} to {MOST_CLOSE:g}; leave it out for a hole"
        )
    return float(value)


def sessions_of(closes: Floats) -> Booleans:
    """Return which rows of (n, k) closes are sessions, shape (n,): not those of a few tickers that trade when others do not."""
    known = ~np.isnan(closes)
    listed = np.logical_or.accumulate(known, axis=0) & np.logical_or.accumulate(known[::-1], axis=0)[::-1]
    count = known.sum(axis=1)
    kept: Booleans = (count == 0) | (2 * count >= listed.sum(axis=1))
    return kept


def abnormal_returns(closes: Floats) -> Floats:
    """Return the (n, k) returns less their mean over tickers; NaN in the first row and on both sides of a hole."""
    returns = np.full_like(closes, np.nan)
    returns[1:] = closes[1:] / closes[:-1] - 1.0
    known = ~np.isnan(returns)
    count = known.sum(axis=1, keepdims=True)
    mean = np.where(known, returns, 0.0).sum(axis=1, keepdims=True) / np.maximum(count, 1)
    abnormal: Floats = returns - mean
    return abnormal


def standardised(abnormal: Floats, sessions: int = VOLATILITY_SESSIONS) -> Floats:
    """Return the (n, k) abnormal returns over their standard deviation of the ``sessions`` before; NaN below 20 of them."""
    z = np.full_like(abnormal, np.nan)
    for row in range(1, len(abnormal)):
        past = abnormal[max(0, row - sessions) : row]
        known = ~np.isnan(past)
        count = known.sum(axis=0)
        filled = np.where(known, past, 0.0)
        mean = filled.sum(axis=0) / np.maximum(count, 1)
        variance = np.where(known, (past - mean) ** 2, 0.0).sum(axis=0) / np.maximum(count - 1, 1)
        usable = (count >= LEAST_SESSIONS) & (variance > 0)
        z[row, usable] = abnormal[row, usable] / np.sqrt(variance[usable])
    return z
