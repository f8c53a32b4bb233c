"""Is it the market? How many members exceed, what is left without the loudest, and who stands out beyond the market's share.

While a market has an alert, the expectation of each member is scaled by the market's factor ``1 + beta * (r - 1)``, where ``r``
is observed over expected of all *other* members, the silent ones too; its share of negatives p becomes f p / (f p + 1 - p).
What then still exceeds the member's own threshold is its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.core.detect import Assessment, LaneView, score_of, with_sums
from pipeline.core.detector_config import DetectorConfig, Lane
from pipeline.core.market_pane import Part
from pipeline.core.market_state import MarketState
from pipeline.core.pane_digest import PaneDigest
from pipeline.core.panes import UNITS
from pipeline.core.windows import WindowSums
from pipeline.events import MarketMember, MarketWide
from pipeline.times import DAY_MS, HOUR_MS


class Member(NamedTuple):
    """One member at one moment: its newest digest, and in the reference window what was observed and expected."""

    digest: PaneDigest
    observed: float
    expected: float

    def exceeds(self, least: float, lift: float) -> bool:
        """Return whether the member is unusually negative, roughly."""
        return self.observed >= max(least, lift * self.expected)


class MemberSight(NamedTuple):
    """What a member's score is told from: its newest digest, all of the longest window, and the lane that looks at them."""

    digest: PaneDigest
    said: Sequence[PaneDigest]
    end_ms: int
    lane: Lane


@dataclass(frozen=True, slots=True)
class Membership:
    """The members of a group, by name, and the window that they are seen in."""

    end_ms: int
    window_ms: int
    by_name: Mapping[str, Member]

    @property
    def observed(self) -> float:
        """Return the negatives of all, each counted as often as members are named."""
        return sum(member.observed for member in self.by_name.values())

    @property
    def expected(self) -> float:
        """Return what is expected of all."""
        return sum(member.expected for member in self.by_name.values())

    def exceeding(self, config: DetectorConfig) -> dict[str, Member]:
        """Return the members that exceed."""
        rules = config.market
        least = rules.member_mass if self.window_ms <= HOUR_MS else rules.member_mass_of_day
        return {name: member for name, member in self.by_name.items() if member.exceeds(least, rules.member_lift)}

    def factor(self, config: DetectorConfig, without: Member | None = None) -> float:
        """Return the market's factor, as it looks without one member: at least 1."""
        observed = self.observed - (0.0 if without is None else without.observed)
        expected = self.expected - (0.0 if without is None else without.expected)
        return max(1.0, 1.0 + config.market.beta * (observed / max(expected, 1e-6) - 1.0))


def membership(state: MarketState, end_ms: int, reference_ms: int, config: DetectorConfig) -> Membership:
    """Return who belongs to the group at this moment, whether it speaks or not: entities that have a history."""
    said = state.said(end_ms, reference_ms)
    exposure = config.prior.season.exposure(end_ms - reference_ms, end_ms) / DAY_MS
    return Membership(
        end_ms,
        reference_ms,
        {
            entity: Member(digest, _negative(said.get(entity, ())), digest.negative_per_day * exposure)
            for entity, digest in state.known(end_ms, config.market.forget_ms).items()
            if digest.remembered >= config.market.member_posts
        },
    )


def _negative(digests: Iterable[PaneDigest]) -> float:
    return sum(round(UNITS * digest.negative) for digest in digests) / UNITS


def is_broad(state: MarketState, seen: Assessment, view: LaneView, least_score: float, config: DetectorConfig) -> bool:
    """Return whether enough members exceed, all together as far as an alert needs, and the loudest could be missing.

    Among many members some exceed by chance; without the second, these would make a market of what others are loud about.
    """
    left = with_sums(view, without_loudest(state, seen.end_ms, view), seen, config)
    if not left.supported or left.score < least_score:
        return False
    members = membership(state, seen.end_ms, view.lane.reference_ms, config)
    if members.observed < view.lane.support.lift * members.expected:
        return False
    return len(members.exceeding(config)) >= max(config.market.least_members, config.market.least_share * len(members.by_name))


def without_loudest(state: MarketState, end_ms: int, view: LaneView) -> tuple[WindowSums, ...]:
    """Return the sums of the view's windows without what names the member that weighs most in the reference window."""
    loudest: dict[str, int] = {}
    for parts in state.parts_between(end_ms, view.lane.reference_ms):
        for entity, part in parts.items():
            loudest[entity] = loudest.get(entity, 0) + part.negative
    if not loudest:
        return view.sums
    name = max(loudest, key=lambda entity: (loudest[entity], entity))
    return tuple(
        _less(sums, [parts[name] for parts in state.parts_between(end_ms, size) if name in parts])
        for sums, size in zip(view.sums, view.lane.windows_ms, strict=True)
    )


def _less(whole: WindowSums, parts: Iterable[Part]) -> WindowSums:
    gone = [sum(values) for values in zip((0, 0), *parts, strict=True)]
    return whole._replace(effective=whole.effective - gone[0], negative=whole.negative - gone[1] / UNITS)


def market_wide(state: MarketState, end_ms: int, lane: Lane, config: DetectorConfig) -> MarketWide:
    """Return what an alert tells of the market: its factor, and the members that exceed, those that stand out first."""
    members = membership(state, end_ms, lane.reference_ms, config)
    exceeding = members.exceeding(config)
    said = state.said(end_ms, lane.windows_ms[-1])
    sights = {name: MemberSight(member.digest, said[name], end_ms, lane) for name, member in exceeding.items()}
    told = [_told(member, sights[name], members.factor(config, member), config) for name, member in exceeding.items()]
    return MarketWide(
        factor=round(members.factor(config), 4),
        entities=len(members.by_name),
        exceeding=len(exceeding),
        members=tuple(sorted(told, key=_by_residual)[: config.market.told_members]),
    )


def _by_residual(member: MarketMember) -> tuple[bool, float, str]:
    return not member.own, -member.residual, member.entity


def _told(member: Member, sight: MemberSight, factor: float, config: DetectorConfig) -> MarketMember:
    digest, residual = member.digest, residual_score(sight, factor, config)
    return MarketMember(
        entity=digest.entity,
        observed=round(member.observed, 4),
        expected=round(member.expected, 4),
        residual=round(residual, 4),
        threshold=round(digest.threshold, 4),
        own=residual >= digest.threshold,
    )


def residual_score(sight: MemberSight, factor: float, config: DetectorConfig) -> float:
    """Return the score of a member by its own panes, when ``factor`` times as many negatives are expected of it."""
    digest, said, end_ms, lane = sight
    season, share = config.prior.season, factor * digest.share
    sums = [_sums([each for each in said if each.start_ms >= end_ms - size]) for size in lane.windows_ms]
    means = [
        max(1e-6, factor * digest.negative_per_day * season.exposure(end_ms - size, end_ms) / DAY_MS) for size in lane.windows_ms
    ]
    at = lane.windows_ms.index(lane.reference_ms)
    dispersion = max(digest.dispersion, lane.least_dispersion)
    return score_of(sums, at, means, share / (share + 1.0 - digest.share), dispersion, config)[2]


def _sums(said: Sequence[PaneDigest]) -> WindowSums:
    return WindowSums(sum(each.posts for each in said), sum(each.effective for each in said), _negative(said), 0.0)
