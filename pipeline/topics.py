"""The one table of topics: name, key, partitions, retention, cleanup policy and contract.

Posts are keyed by ``event_id`` and behaviour by ``user_id``, so that one partition owns a user. Adding partitions to
``events`` moves users between partitions: drain the workers first.
"""

from dataclasses import dataclass
from functools import lru_cache

from pipeline.contract import Contract
from pipeline.events import Alert, BehaviorEvent, DeadLetter, ScoredPost, SocialPost, Trend

FOREVER = -1  # retention goes by record timestamp: a topic that may hold a replay of old history must not expire it


@dataclass(frozen=True, slots=True)
class Topic:
    """One row of the table. ``name`` is completed with the prefix from the settings."""

    name: str
    key: str
    contract: type[Contract]
    partitions: int
    retention_ms: int = FOREVER
    cleanup_policy: str = "delete"
    max_record_bytes: int = 1_000_000

    def full_name(self, prefix: str) -> str:
        """Return the name on the broker."""
        return f"{prefix}{self.name}"

    def key_of(self, value: Contract) -> bytes:
        """Return the key of the record that carries this value."""
        return str(getattr(value, self.key)).encode()


POSTS = Topic("posts", "event_id", SocialPost, partitions=4)
EVENTS = Topic("events", "user_id", BehaviorEvent, partitions=4)
SCORED = Topic("scored", "entity", ScoredPost, partitions=4)
TRENDS = Topic("trends", "entity", Trend, partitions=4)
ALERTS = Topic("alerts", "entity", Alert, partitions=1)
LATE = Topic("late", "entity", ScoredPost, partitions=1)  # scored, but behind the allowed lateness: no trend counts it
DEAD_LETTERS = Topic("dead-letters", "topic", DeadLetter, partitions=1, max_record_bytes=2_000_000)  # base64 grows it by a third

TOPICS: tuple[Topic, ...] = (POSTS, EVENTS, SCORED, TRENDS, ALERTS, LATE, DEAD_LETTERS)


def topic_of(event: SocialPost | BehaviorEvent) -> Topic:
    """Return the input topic that an event belongs to."""
    return POSTS if isinstance(event, SocialPost) else EVENTS


@lru_cache
def max_record_bytes(name: str) -> int:
    """Return how large a record of the topic with this full name may be (key and value together)."""
    return max((topic.max_record_bytes for topic in TOPICS if name.endswith(topic.name)), default=1_000_000)
