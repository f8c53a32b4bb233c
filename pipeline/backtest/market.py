"""What markets said in a backtest: all posts through the live host, whose second stage needs every entity at once."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pipeline.backtest.daily import Day, sums_by_day
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.explain import ENDED
from pipeline.core.market_rules import OFF, group_of
from pipeline.events import Alert, MarketWide, ScoredPost, Trend
from pipeline.jobs.trends import TrendHost, make_host


class MarketAlert(NamedTuple):
    """One alert of a market: its first record, the one with the highest score, and the last one."""

    opened: Alert
    peak: Alert
    last: Alert

    @property
    def market(self) -> MarketWide:
        """Return what it said at its peak of its members."""
        assert self.peak.market is not None, "only alerts of markets get here"
        return self.peak.market

    @property
    def own(self) -> list[str]:
        """Return the members that stand out beyond the market."""
        return [member.entity for member in self.market.members if member.own]

    def summary(self) -> dict[str, Any]:
        """Return it as JSON values; ``members``: at most the 40 that the alert names, those that stand out first."""
        return {
            "market": self.opened.entity,
            "opened_ms": self.opened.event_time_ms,
            "ended_ms": self.last.event_time_ms if self.last.status in ENDED else None,
            "status": self.last.status,
            "severity": self.peak.severity,
            "score": self.peak.score,
            "factor": self.market.factor,
            "entities": self.market.entities,
            "exceeding": self.market.exceeding,
            "members": [member.entity for member in self.market.members],
            "own": self.own,
        }


def market_alerts(posts: Iterable[ScoredPost], config: DetectorConfig, span: tuple[int, int]) -> list[MarketAlert] | None:
    """Return the alerts of markets that opened in the span, in time order; None where markets are off."""
    if config.market.groups == OFF:
        return None
    records: dict[str, list[Alert]] = {}
    for alert in said(make_host(config), posts):
        if alert.market is not None:
            records.setdefault(alert.alert_id, []).append(alert)
    found = [MarketAlert(own[0], max(own, key=lambda alert: alert.score), own[-1]) for own in records.values()]
    return [alert for alert in found if span[0] <= alert.opened.event_time_ms < span[1]]


def said(host: TrendHost[Any], posts: Iterable[ScoredPost]) -> Iterator[Alert]:
    """Yield the alerts that a host tells of posts in event-time order, to the end of what they open."""
    for step in host.on_posts(posts):
        yield from step.alerts
    yield from host.finish().alerts


def days_of_markets(trends: Sequence[Trend], span: tuple[int, int], config: DetectorConfig) -> dict[str, list[Day]]:
    """Return every day of each market: the sums over its members, a post counted as often as it names some."""
    groups: dict[str, list[Trend]] = {}
    for trend in trends:
        groups.setdefault(group_of(trend.entity, config.market.groups), []).append(trend)
    return {group: sums_by_day(own, span) for group, own in sorted(groups.items())}
