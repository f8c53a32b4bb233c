"""What a worker goes by, as plain values: topics, weights, half-lives, limits and patience."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import NamedTuple, Self

from pipeline import topics
from pipeline.adapters.stores import ProfileSpec
from pipeline.clock import wall_clock_ms
from pipeline.core.rolling import MAX_WEIGHT
from pipeline.errors import ConfigurationError
from pipeline.events import Action
from pipeline.settings import Settings
from pipeline.times import DAY_MS
from workers.batching import BatchLimits
from workers.encoder import DIMENSIONS

POST = "post"  # what writing a post counts for its author's profile, beside the actions


class Clock(NamedTuple):
    """Where the loop takes its times from. ``now_ms``: epoch milliseconds; ``monotonic_s``: for durations."""

    now_ms: Callable[[], int]
    monotonic_s: Callable[[], float]


def system_clock() -> Clock:
    """Return this machine's clock."""
    return Clock(wall_clock_ms, monotonic)


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Full names of the topics that a worker reads and writes."""

    posts: str
    events: str
    scored: str
    dead_letters: str

    @classmethod
    def with_prefix(cls, prefix: str) -> Self:
        """Return the names on a broker where every topic has this prefix."""
        table = (topics.POSTS, topics.EVENTS, topics.SCORED, topics.DEAD_LETTERS)
        return cls(*(topic.full_name(prefix) for topic in table))

    def short(self, name: str) -> str:
        """Return the name in the table of topics, for metrics."""
        return topics.POSTS.name if name == self.posts else topics.EVENTS.name


@dataclass(frozen=True, slots=True)
class WorkerRules:
    """See the settings of the same names. ``weights`` has one weight per action and one for POST; 0 adds no vector."""

    topics: TopicNames
    weights: Mapping[str, float]
    half_lives_ms: tuple[int, ...]
    limits: BatchLimits
    cache_bytes: int
    max_poll_records: int
    poll_timeout_ms: int
    stuck_after_s: float
    drain_timeout_s: float
    max_consecutive_dead_letters: int
    restart_profiles: bool = False

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Return the rules that the settings say. Raises ConfigurationError for weights that cannot be."""
        profiles, worker, encoder = settings.profiles, settings.worker, settings.encoder
        rules = cls(
            topics=TopicNames.with_prefix(settings.kafka.topic_prefix),
            weights=profiles.weights,
            half_lives_ms=tuple(round(days * DAY_MS) for days in profiles.half_life_days),
            limits=BatchLimits(max_tokens=encoder.batch_tokens, max_wait_ms=worker.max_wait_ms),
            cache_bytes=encoder.cache_bytes,
            max_poll_records=worker.max_poll_records,
            poll_timeout_ms=worker.poll_timeout_ms,
            stuck_after_s=worker.stuck_after_s,
            drain_timeout_s=worker.drain_timeout_s,
            max_consecutive_dead_letters=worker.max_consecutive_dead_letters,
        )
        rules.check()
        return rules

    def check(self) -> None:
        """Raise ConfigurationError where a weight is missing or out of range, or a half-life is not positive."""
        for name in (*Action, POST):
            weight = self.weights.get(name)
            if weight is None or not 0.0 <= weight <= MAX_WEIGHT:
                fix = f"give a number from 0 to {MAX_WEIGHT:g}"
                raise ConfigurationError(f"GROUNDSWELL_PROFILES__WEIGHTS: {name} = {weight}; {fix}")
        for half_life_ms in self.half_lives_ms:
            if half_life_ms <= 0:
                raise ConfigurationError(f"GROUNDSWELL_PROFILES__HALF_LIFE_DAYS: {half_life_ms / DAY_MS:g}; give numbers above 0")

    def restarting(self, restart: bool) -> Self:
        """Return these rules with profiles of another model begun anew, or not."""
        return replace(self, restart_profiles=restart)

    def profile_spec(self, space: str) -> ProfileSpec:
        """Return what a profile under these rules looks like, of vectors in this space."""
        return ProfileSpec(space, DIMENSIONS, self.half_lives_ms, self.restart_profiles)
