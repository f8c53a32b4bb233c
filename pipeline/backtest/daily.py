"""What was said of one entity day by day, against what its baseline expects of a whole day."""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.core.explain import band_of
from pipeline.core.prior import Prior
from pipeline.events import Band, Trend
from pipeline.times import DAY_MS


class Day(NamedTuple):
    """One day (UTC). ``share`` is None without posts, ``band`` (of the negative mass) before the first."""

    start_ms: int
    posts: int
    negative: float
    share: float | None
    band: Band | None


def by_day(trends: Sequence[Trend], span: tuple[int, int], prior: Prior) -> list[Day]:
    """Return every day of the span; ``trends``: one entity's, ascending, the last revision of each pane.

    A pane's expectation is that of a day times the pane's part in the season. So each pane tells what a whole day would
    bring; a day has the mean of its panes, and one without posts has that of the day before.
    """
    table = _table(trends)
    volume = sum(trend.posts_effective for trend in trends) * DAY_MS / (span[1] - span[0])
    dispersion = prior.tiers[prior.tier_of(volume)].dispersion
    days: list[Day] = []
    rate: float | None = None
    for day in _days(span):
        own = table.get(day, [])
        rate = _expected_of_a_day(own, prior) if own else rate
        days.append(_day(day * DAY_MS, own, None if rate is None else _band(day * DAY_MS, rate, dispersion, prior)))
    return days


def sums_by_day(trends: Sequence[Trend], span: tuple[int, int]) -> list[Day]:
    """Return every day of the span, summed over the entities of ``trends``; bands do not add up, so there is none."""
    table = _table(trends)
    return [_day(day * DAY_MS, table.get(day, []), None) for day in _days(span)]


def _table(trends: Sequence[Trend]) -> dict[int, list[Trend]]:
    table: dict[int, list[Trend]] = {}
    for trend in trends:
        table.setdefault(trend.window_start_ms // DAY_MS, []).append(trend)
    return table


def _days(span: tuple[int, int]) -> range:
    return range(span[0] // DAY_MS, -(-span[1] // DAY_MS))


def _expected_of_a_day(own: Sequence[Trend], prior: Prior) -> float:
    """Return the negatives of a mean day: what the panes expect over their exposures."""
    exposures = (prior.season.exposure(trend.window_start_ms, trend.window_end_ms) for trend in own)
    rates = [trend.band.expected * DAY_MS / exposure for trend, exposure in zip(own, exposures, strict=True) if exposure > 0]
    return sum(rates) / len(rates) if rates else 0.0


def _band(start_ms: int, rate: float, dispersion: float, prior: Prior) -> Band:
    return band_of(rate * prior.season.exposure(start_ms, start_ms + DAY_MS) / DAY_MS, dispersion)


def _day(start_ms: int, own: Sequence[Trend], band: Band | None) -> Day:
    negative, effective = sum(trend.negative_mass for trend in own), sum(trend.posts_effective for trend in own)
    share = min(1.0, negative / effective) if effective > 0 else None
    return Day(start_ms, sum(trend.posts for trend in own), negative, share, band)
