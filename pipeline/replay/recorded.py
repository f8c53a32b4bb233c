"""Recorded posts that are scored already, from files of JSON lines; raw ones are the business of ``pipeline.replay.raw``."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import itemgetter
from pathlib import Path
from shlex import quote

from pydantic import TypeAdapter, ValidationError

from pipeline.adapters.json_lines import has_lines, read_lines, read_objects
from pipeline.contract import EARLIEST_MS
from pipeline.core.panes import mention_of
from pipeline.core.shown import utc
from pipeline.core.trends import post_order
from pipeline.errors import ConfigurationError
from pipeline.events import ScoredPost

CHUNK = 2_000
_POSTS = TypeAdapter(list[ScoredPost])
Line = tuple[int, bytes]


def known_ms(post: ScoredPost) -> int:
    """Return when the pipeline could have known the post."""
    return post.event_time_ms if post.available_at_ms is None else post.available_at_ms


def arrival(post: ScoredPost) -> tuple[int, int, str, str]:
    """Return the key of the order in which the pipeline could have known the posts."""
    return known_ms(post), *post_order(post)


def is_scored(path: Path) -> bool:
    """Return whether the first line of a file of JSON lines is a scored post."""
    _, first = next(read_objects(path), ("", {}))
    return "sentiment" in first and "simhash" in first


def read_scored(path: Path) -> Iterator[ScoredPost]:
    """Yield the scored posts of a file of JSON lines in event-time order.

    Raises ConfigurationError for a line that is no scored post, and where the event time goes back.
    """
    before_ms = EARLIEST_MS
    for chunk in _chunks(read_lines(path)):
        for (number, _), post in zip(chunk, _decode(chunk, path), strict=True):
            if post.event_time_ms < before_ms:
                raise unsorted(path, number, before_ms, post.event_time_ms)
            before_ms = post.event_time_ms
            yield post


def once_in_order(posts: Iterable[ScoredPost]) -> list[ScoredPost]:
    """Return the posts that name somebody in event-time order, each post, entity and time once.

    Of two versions of one time that which sorts first stays, whatever their order in the files. A version of another time is
    kept: live, both count, and dropping the earlier one for the later would be to know the future.
    """
    unique: dict[tuple[str, str, int], ScoredPost] = {}
    for post in posts:
        if post.entity:
            key = post.event_id, post.entity, post.event_time_ms
            unique[key] = min(post, unique[key], key=mention_of) if key in unique else post
    return sorted(unique.values(), key=post_order)


def merged(files: Sequence[Iterable[ScoredPost]]) -> Iterator[ScoredPost]:
    """Yield the posts of several ordered files in one event-time order."""
    return iter(files[0]) if len(files) == 1 else heapq.merge(*files, key=post_order)


def as_they_came(lanes: Sequence[Iterable[ScoredPost]]) -> Iterator[ScoredPost]:
    """Yield the posts of several lanes, each kept in its own order, by the newest time that each has reached."""
    reached = [_reached(posts, number) for number, posts in enumerate(lanes)]
    return (post for _, post in heapq.merge(*reached, key=itemgetter(0)))


def _reached(posts: Iterable[ScoredPost], number: int) -> Iterator[tuple[tuple[int, int], ScoredPost]]:
    newest_ms = EARLIEST_MS
    for post in posts:
        newest_ms = max(newest_ms, known_ms(post))
        yield (newest_ms, number), post


def between(posts: Iterable[ScoredPost], from_ms: int, to_ms: int) -> Iterator[ScoredPost]:
    """Yield the posts of [from_ms, to_ms); stops reading at the first one behind."""
    for post in posts:
        if post.event_time_ms >= to_ms:
            return
        if post.event_time_ms >= from_ms:
            yield post


def unsorted(path: Path, number: int, before_ms: int, after_ms: int, mapped: bool = False) -> ConfigurationError:
    """Return the error for a file whose event time goes back, and how to sort it; ``mapped``: its fields have other names."""
    times = f"{utc(before_ms)} is followed by {utc(after_ms)} UTC"
    fix = "write its rows in the order of their times" if mapped or not has_lines(path) else _sorting(path)
    return ConfigurationError(f"{path} line {number}: event_time_ms goes back ({times}); sort the file first: {fix}")


def _sorting(path: Path) -> str:
    cat, pack = ("zcat", " | gzip > sorted.jsonl.gz") if path.suffix == ".gz" else ("cat", " > sorted.jsonl")
    return f"{cat} {quote(str(path))} | jq -c -s 'sort_by(.event_time_ms, .event_id, .entity)[]'{pack}"


def _chunks(lines: Iterable[Line]) -> Iterator[list[Line]]:
    """Yield the lines that are not blank, many at a time."""
    filled = (line for line in lines if line[1].strip())
    while chunk := list(islice(filled, CHUNK)):
        yield chunk


def _decode(chunk: list[Line], path: Path) -> list[ScoredPost]:
    """Return the posts of a chunk of lines at once; on failure, say which line it is."""
    try:
        posts = _POSTS.validate_json(b"[" + b",".join(line for _, line in chunk) + b"]")
    except ValidationError:
        posts = []
    return posts if len(posts) == len(chunk) else _first_failure(chunk, path)


def _first_failure(chunk: list[Line], path: Path) -> list[ScoredPost]:
    posts = []
    for number, line in chunk:
        try:
            posts.append(ScoredPost.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            shown = str(first["input"])[:80]
            what = f"{path} line {number} is not a scored post: {where} = {shown}: {first['msg']}"
            raise ConfigurationError(f"{what}; mend the line or take it out") from None
    return posts
