"""Daily prices as truth: which trading sessions brought a ticker an abnormal loss.

The abnormal return is the return less the mean return of all tickers of that session; ``z`` divides it by its own standard
deviation over the 60 sessions before. A post belongs to the session whose close follows it, in exchange time.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.adapters.json_lines import read_objects
from pipeline.backtest.exchange import NEW_YORK, Exchange
from pipeline.errors import ConfigurationError
from pipeline.times import DAY_MS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

VOLATILITY_SESSIONS = 60
LEAST_SESSIONS = 20  # below this a standard deviation says little


@dataclass(frozen=True)
class Prices:
    """Closing prices and what follows from them.

    tickers: (k,), ascending. closes_ms: (n,), the end of each session, ascending. abnormal, z: (n, k), NaN where a price
    is missing on that day or the day before, or where the history is too short.
    """

    tickers: tuple[str, ...]
    closes_ms: Ints
    abnormal: Floats
    z: Floats

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

    A day that is missing, empty or not positive is a hole: no return is computed over it.
    """
    closes = dict(_parse(path))
    if not closes:
        raise ConfigurationError(f"prices: {path} holds no prices; expected JSON lines with ticker, date, close")
    tickers = tuple(sorted({ticker for ticker, _ in closes}))
    days = sorted({day for _, day in closes})
    matrix = np.array([[closes.get((ticker, day), np.nan) for ticker in tickers] for day in days], dtype=np.float64)
    abnormal = abnormal_returns(matrix)
    closes_ms = np.array([exchange.close_ms(day) for day in days], dtype=np.int64)
    return Prices(tickers, closes_ms, abnormal, standardised(abnormal))


def _parse(path: Path) -> Iterator[tuple[tuple[str, date], float]]:
    for where, row in read_objects(path):
        try:
            key = (str(row["ticker"]), date.fromisoformat(row["date"]))
        except KeyError as error:
            raise ConfigurationError(f"prices: {where}: field {error} is missing; a line needs ticker and date") from None
        except (TypeError, ValueError):
            fix = "write it as YYYY-MM-DD"
            raise ConfigurationError(f"prices: {where}: date = {row['date']!r} is not a date; {fix}") from None
        yield key, _positive_or_hole(row, where)


def _positive_or_hole(row: dict[str, Any], where: str) -> float:
    value = row.get("adj_close")
    value = row.get("close") if value is None else value
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigurationError(f"prices: {where}: close = {json.dumps(value)} is not a number; leave it out for a hole")
    return float(value) if 0 < value < float("inf") else float("nan")


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
