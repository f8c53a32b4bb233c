"""Replay from a Kafka topic by time range, and into topics of its own; the live ones are read without a group, never written."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from pydantic import ValidationError

from pipeline.adapters.streams import Reader, Record, Sink
from pipeline.core.trends import Step
from pipeline.errors import ConfigurationError
from pipeline.events import ScoredPost, SocialPost
from pipeline.replay.recorded import order
from pipeline.topics import ALERTS, POSTS, SCORED, TRENDS

SCHEME = "topic:"
Post = TypeVar("Post", ScoredPost, SocialPost)
Score = Callable[[Iterable[SocialPost]], Iterable[ScoredPost]]


def read_topic(reader: Reader, name: str, prefix: str, span: tuple[int, int], score: Score) -> Iterator[ScoredPost]:
    """Yield the scored posts of ``topic:scored``, or what the worker makes of ``topic:posts``, in event-time order.

    ``span``: [from_ms, to_ms) of the records' timestamps, which are event times. Records that are no posts are left out:
    the live pipeline made dead letters of them.
    """
    short = name.removeprefix(SCHEME)
    if short == SCORED.name:
        records = reader.read_range(SCORED.full_name(prefix), *span)
        return iter(sorted(_decoded(records, ScoredPost), key=order))
    if short == POSTS.name:
        records = reader.read_range(POSTS.full_name(prefix), *span)
        posts = sorted(_decoded(records, SocialPost), key=lambda post: (post.event_time_ms, post.event_id))
        return iter(sorted(score(posts), key=order))
    raise ConfigurationError(f"{name} cannot be replayed; name {SCHEME}{SCORED.name}, {SCHEME}{POSTS.name} or a file")


def _decoded(records: Iterable[Record], contract: type[Post]) -> Iterator[Post]:
    for record in records:
        try:
            yield contract.model_validate_json(record.value)
        except ValidationError:
            continue


def check_prefix(prefix: str, live: str) -> None:
    """Refuse to publish a replay where the live records stand."""
    if prefix == live:
        raise ConfigurationError(
            f"--publish {prefix!r} is the live prefix; take another, and create its topics with "
            f"GROUNDSWELL_KAFKA__TOPIC_PREFIX=PREFIX groundswell provision"
        )


def published(steps: Iterable[Step], sink: Sink, prefix: str) -> Iterator[Step]:
    """Yield the steps, having written their trends and alerts to the topics of ``prefix``; in the end all are durable."""
    for step in steps:
        for topic, outputs in ((TRENDS, step.trends), (ALERTS, step.alerts)):
            for output in outputs:
                sink.write(topic.full_name(prefix), output.entity.encode(), output.to_json(), output.event_time_ms)
        yield step
    sink.flush()
