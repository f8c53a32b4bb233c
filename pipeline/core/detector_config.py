"""What the detector is made of: every number that a decision depends on, frozen, with one hash."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.core.market_rules import MarketRules
from pipeline.core.prior import Prior, Tier
from pipeline.events import Rule
from pipeline.times import DAY_MS, HOUR_MS, MINUTE_MS

DETECTOR_VERSION = "5"


@dataclass(frozen=True, slots=True)
class Support:
    """What the reference window must hold before anyone may be alerted, whatever the tail says."""

    negative_mass: float
    posts_effective: float
    posts_effective_cold: float = 8.0
    authors: int = 3
    lift: float = 2.0


@dataclass(frozen=True, slots=True)
class Lane:
    """One pace of looking: three windows, ascending, whose count tails are averaged, and the window of share and support.

    ``support`` is what an alert needs to open, ``firm`` what it needs to be more than information.
    ``least_dispersion``: what moves people for hours is not independent from hour to hour, so longer windows vary more.
    """

    rule: Rule
    windows_ms: tuple[int, int, int]
    reference_ms: int
    support: Support
    firm: Support
    least_dispersion: float


FIRM = Support(2.0, 4.0)
TWO = Support(1.0, 2.0, posts_effective_cold=5.0, authors=2)  # within an hour: a third post costs ten minutes on average
SPIKE = Lane(Rule.NEGATIVE_SPIKE, (15 * MINUTE_MS, HOUR_MS, 3 * HOUR_MS), HOUR_MS, TWO, FIRM, 0.1)
SLOW = Lane(Rule.NEGATIVE_TREND, (3 * HOUR_MS, 6 * HOUR_MS, DAY_MS), DAY_MS, Support(1.0, 3.0), FIRM, 0.5)
BROAD = Support(4.0, 5.0, lift=1.5)
BROAD_FIRM = Support(8.0, 10.0, authors=5, lift=1.5)
MARKET = Lane(Rule.MARKET_WIDE, SPIKE.windows_ms, HOUR_MS, BROAD, BROAD_FIRM, 0.1)
MARKET_SLOW = Lane(Rule.MARKET_WIDE, SLOW.windows_ms, DAY_MS, BROAD, BROAD_FIRM, 0.1)
# Laws fitted on entities say how loud one gets by chance, not how loud many. This one is of the broad scores of 87 tickers from
# January to June 2014, when lists of names still counted: an upper bound now.
MARKET_TIER = Tier(float(2**53), 0.1, threshold_base=1.0, threshold_scale=0.65, rate_at_base=0.055)


@dataclass(frozen=True, slots=True)
class Flood:
    """When one content, or young accounts, speak for an entity within the hour: no opinion, but coordinated activity.

    ``copies``: contents said so often within the window of an alert that would open do not support it, if most of what is
    negative in it is theirs.
    """

    window_ms: int = HOUR_MS
    posts: int = 20
    copies: int = 2
    top_share: float = 0.5
    young_share: float = 0.5
    max_variety: float = 0.2
    young_age_ms: int = 30 * DAY_MS


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """When an open alert speaks again, and when it ends."""

    stay_open_factor: float = 0.5
    keep_open_ms: int = 2 * HOUR_MS
    cooldown_ms: int = DAY_MS
    update_factor: float = 1.5
    warning_factor: float = 1.5
    critical_factor: float = 2.5
    critical_mass: float = 15.0
    critical_share_shift: float = 0.2


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """The detector's configuration.

    ``guard_ms``: younger panes do not count into the baseline. ``freeze_at_most_ms``: an alert that stays open longer is the
    new normal. ``cold_share_tail``: while a young entity's level is not known, its negative share must be unusual as well.
    ``forget_after_ms``: an entity that was silent for longer begins anew; that it is silent is knowledge, so not soon.
    ``most_names``: a post that names more by cashtag is a list, and no mood about anybody.
    ``config_hash``: 16 hex digits that change with any other number here; with those of the ``market`` only where it is the
    configuration of markets (``market_config``): what is told of entities does not depend on them.
    """

    false_alerts_per_entity_day: float = 0.005
    lanes: tuple[Lane, ...] = (SPIKE, SLOW)
    allowed_lateness_ms: int = HOUR_MS
    out_of_orderness_ms: int = 2 * MINUTE_MS
    half_life_ms: int = 14 * DAY_MS
    guard_ms: int = 3 * HOUR_MS
    winsor_sigmas: float = 4.0
    share_strength: float = 20.0
    share_weight: float = 0.5
    cold_start_ms: int = 3 * DAY_MS
    cold_dispersion: float = 1.5
    cold_share_tail: float = 1.3
    freeze_at_most_ms: int = DAY_MS
    forget_gap_ms: int = 7 * DAY_MS
    forget_after_ms: int = 365 * DAY_MS
    cluster_memory_ms: int = DAY_MS
    cluster_capacity: int = 2048
    posts_per_author: int = 2
    most_names: int = 3
    own_rate_half_life_ms: int = 60 * DAY_MS
    own_rate_strength_ms: int = 60 * DAY_MS
    flood: Flood = field(default_factory=Flood)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    prior: Prior = field(default_factory=Prior)
    market: MarketRules = field(default_factory=MarketRules)
    config_hash: str = field(init=False, default="")

    @property
    def longest_ms(self) -> int:
        """Return the longest window any lane looks at."""
        return max(lane.windows_ms[-1] for lane in self.lanes)

    def numbers(self) -> dict[str, Any]:
        """Return every number that a decision depends on, as JSON values: all fields but the hash and what is derived."""
        parts = asdict(self)
        del parts["config_hash"]
        del parts["prior"]["season"]["_until"]
        return parts

    def __post_init__(self) -> None:
        parts = self.numbers()
        if MARKET not in self.lanes:
            del parts["market"]
        canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False)
        object.__setattr__(self, "config_hash", hashlib.sha256(canonical.encode()).hexdigest()[:16])


def market_config(config: DetectorConfig) -> DetectorConfig:
    """Return the configuration of the groups of entities that ``config`` is for: own lanes, own law, more patience."""
    return replace(
        config,
        lanes=(MARKET, MARKET_SLOW),
        prior=replace(config.prior, tiers=(MARKET_TIER,)),
        allowed_lateness_ms=config.allowed_lateness_ms + config.market.extra_lateness_ms,
        cluster_capacity=config.market.cluster_capacity,
    )
