"""When a market as a whole speaks: the numbers, and which group an entity belongs to."""

from dataclasses import dataclass

from pipeline.times import DAY_MS, HOUR_MS

ALL, BY_EXCHANGE, OFF = "all", "exchange", "off"
EXCHANGES = frozenset(("SH", "SZ", "BJ", "HK"))
PREFIX = "market:"


@dataclass(frozen=True, slots=True)
class MarketRules:
    """The rules of groups.

    ``groups``: ``all`` entities are one market, or those of an ``exchange``, or none is (``off``). A member exceeds with
    ``member_mass`` negative posts within an hour (half of one: any post that is rather negative than not) or
    ``member_mass_of_day`` within a day, in which one negative post is nothing unusual, and ``member_lift`` times what it expects;
    at least ``least_members`` must, and ``least_share`` of the members. Members are the entities heard of within ``forget_ms``
    that remember ``member_posts``: of others it is not known what is usual, and there may be any number of them. ``beta``: how
    much of the market's excess each member is taken to share. ``told_members``: an alert names so many of the members at most.
    ``extra_lateness_ms``: how much later than a post may be its entity's corrections may come.
    """

    groups: str = ALL
    least_members: int = 5
    least_share: float = 0.1
    member_mass: float = 0.5
    member_mass_of_day: float = 1.0
    member_lift: float = 2.0
    member_posts: float = 5.0
    beta: float = 1.0
    forget_ms: int = 14 * DAY_MS
    told_members: int = 40
    extra_lateness_ms: int = HOUR_MS
    cluster_capacity: int = 16_384
    authors_per_pane: int = 64


def group_of(entity: str, groups: str) -> str:
    """Return the name of the group: ``market:all``, or of its exchange, as in ``600519.SH``; those without one share a group."""
    if groups == ALL:
        return PREFIX + ALL
    exchange = entity.rpartition(".")[2]
    return PREFIX + (exchange if exchange in EXCHANGES else "other")
