"""Volume tiers from the training span, and the realised false-alert rate of each against the target."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from pipeline.backtest.posts import ByEntity
from pipeline.times import DAY_MS

TIERS = (("light", 0.5), ("medium", 0.9), ("heavy", 1.0))  # name and upper quantile of the entities' training volume
NEW = "new"  # entities that the training span never saw
Z_90 = 1.6448536269514722


def tier_of_entity(posts: ByEntity, from_ms: int, to_ms: int) -> dict[str, str]:
    """Return the tier of every entity, by its posts in the training span."""
    counts = {entity: posts.count(entity, from_ms, to_ms) for entity in posts.entities}
    seen = sorted((count, entity) for entity, count in counts.items() if count > 0)
    tiers = dict.fromkeys(counts, NEW)
    for rank, (_, entity) in enumerate(seen):
        tiers[entity] = next(name for name, upper in TIERS if (rank + 0.5) / len(seen) <= upper)
    return tiers


@dataclass(frozen=True, slots=True)
class TierRow:
    """One tier over the evaluated span. Rates are per entity and day; ``low`` and ``high`` bound the ratio at 90 %."""

    tier: str
    entities: int
    posts_per_day: float
    alerts: int
    false_alerts: int
    entity_days: float
    realised: float
    over_target: float
    low: float
    high: float


def tier_table(
    tiers: Mapping[str, str], posts: ByEntity, span: tuple[int, int], alarms: Sequence[tuple[str, bool]], target: float
) -> list[TierRow]:
    """Return a row per tier that has entities. ``alarms``: (entity, whether it was a false alert)."""
    days = (span[1] - span[0]) / DAY_MS
    names = [name for name, _ in TIERS] + [NEW]
    rows = []
    for name in names:
        members = {entity for entity, tier in tiers.items() if tier == name}
        if members:
            rows.append(_row(name, members, _posts_per_day(members, posts, span) / days, days, alarms, target))
    return rows


def _posts_per_day(members: Iterable[str], posts: ByEntity, span: tuple[int, int]) -> float:
    return float(np.mean([posts.count(entity, *span) for entity in members]))


def _row(name: str, members: set[str], volume: float, days: float, alarms: Sequence[tuple[str, bool]], target: float) -> TierRow:
    own = [is_false for entity, is_false in alarms if entity in members]
    false_alerts = sum(own)
    entity_days = len(members) * days
    expected = target * entity_days
    low, high = poisson_interval(false_alerts)
    return TierRow(
        tier=name,
        entities=len(members),
        posts_per_day=volume,
        alerts=len(own),
        false_alerts=false_alerts,
        entity_days=entity_days,
        realised=false_alerts / entity_days,
        over_target=false_alerts / expected,
        low=low / expected,
        high=high / expected,
    )


def poisson_interval(count: int) -> tuple[float, float]:
    """Return the central 90 % interval of a Poisson mean after ``count`` events (Wilson and Hilferty's approximation)."""
    low = count * max(0.0, 1.0 - 1.0 / (9.0 * count) - Z_90 / (3.0 * sqrt(count))) ** 3 if count else 0.0
    more = count + 1
    return low, more * (1.0 - 1.0 / (9.0 * more) + Z_90 / (3.0 * sqrt(more))) ** 3
