"""Replay from a Kafka topic by time range, and into topics of its own; the live ones are read without a group, never written."""

from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import TypeVar

from pydantic import ValidationError

from pipeline.adapters.streams import Reader, Record, Sink
from pipeline.core.trends import Step, told
from pipeline.errors import ConfigurationError
from pipeline.events import ScoredPost, SocialPost
from pipeline.replay.recorded import arrival
from pipeline.topics import POSTS, SCORED

SCHEME = "topic:"
Post = TypeVar("Post", ScoredPost, SocialPost)
Score = Callable[[Iterable[SocialPost]], Iterable[ScoredPost]]


def read_topic(reader: Reader, name: str, prefix: str, span: tuple[int, int], score: Score) -> list[list[ScoredPost]]:
    """Return the scored posts of ``topic:scored``, or what the worker makes of ``topic:posts``, in lanes as they came.

    A lane is what came over one partition, in its order: an entity has one, so that its posts are as late in it as they
    were. What is scored here has one lane, by ``available_at_ms``. ``span``: [from_ms, to_ms) of the records' timestamps,
    which are event times. Records that are no posts are left out: the live pipeline made dead letters of them.
    """
    short = name.removeprefix(SCHEME)
    if short == SCORED.name:
        records = reader.read_range(SCORED.full_name(prefix), *span)
        return _lanes(records)
    if short == POSTS.name:
        records = reader.read_range(POSTS.full_name(prefix), *span)
        posts = [post for record in records if (post := _decoded(record, SocialPost)) is not None]
        return [sorted(score(sorted(posts, key=lambda post: (post.event_time_ms, post.event_id))), key=arrival)]
    raise ConfigurationError(f"{name} cannot be replayed; name {SCHEME}{SCORED.name}, {SCHEME}{POSTS.name} or a file")


def _lanes(records: Iterable[Record]) -> list[list[ScoredPost]]:
    lanes: dict[int, list[tuple[int, ScoredPost]]] = {}
    for record in records:
        post = _decoded(record, ScoredPost)
        if post is not None:
            lanes.setdefault(record.partition, []).append((record.offset, post))
    return [[post for _, post in sorted(lanes[number], key=itemgetter(0))] for number in sorted(lanes)]


def _decoded(record: Record, contract: type[Post]) -> Post | None:
    try:
        return contract.model_validate_json(record.value)
    except ValidationError:
        return None


def check_prefix(prefix: str, live: str) -> None:
    """Refuse to publish a replay where the live records stand."""
    if prefix == live:
        raise ConfigurationError(
            f"--publish {prefix!r} is the live prefix; take another, and create its topics with "
            f"GROUNDSWELL_KAFKA__TOPIC_PREFIX=PREFIX groundswell provision"
        )


def published(steps: Iterable[Step], sink: Sink, prefix: str) -> Iterator[Step]:
    """Yield the steps, having written what they tell to the topics of ``prefix``; in the end all is durable."""
    for step in steps:
        for topic, output in told(step):
            sink.write(topic.full_name(prefix), topic.key_of(output), output.to_json(), output.event_time_ms)
        yield step
    sink.flush()
