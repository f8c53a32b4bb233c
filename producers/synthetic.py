"""A seeded world of posts and click sessions, with planted mood shifts, one bot flood, and the truth about both."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.events import BehaviorEvent, SocialPost


@dataclass(frozen=True, slots=True)
class SyntheticConfig:
    """What to make. Equal configurations give equal events.

    Posts and click events spread over ``hours`` from ``start_ms`` (epoch milliseconds, UTC) with a daily season.
    ``negative_spikes`` mood shifts and one bot flood are planted in the second half, so that a baseline can form before.
    """

    seed: int = 7
    posts: int = 6_000
    users: int = 200
    hours: float = 24.0
    start_ms: int = 1_704_067_200_000
    negative_spikes: int = 2


@dataclass(frozen=True, slots=True)
class Planted:
    """One line of the truth: what was planted, on which entity, in [from_ms, to_ms)."""

    entity: str
    kind: str
    from_ms: int
    to_ms: int


def stream(config: SyntheticConfig) -> Iterator[SocialPost | BehaviorEvent]:
    """Yield posts and behaviour events in event-time order."""
    raise NotImplementedError


def truth(config: SyntheticConfig) -> tuple[Planted, ...]:
    """Return what ``stream`` plants for this configuration, in time order."""
    raise NotImplementedError
