"""Recorded posts that are scored already, from files of JSON lines; raw ones are the business of ``pipeline.replay.raw``."""

import gzip
import heapq
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from operator import itemgetter
from pathlib import Path
from shlex import quote
from typing import IO, Final, cast

from pydantic import TypeAdapter, ValidationError

from pipeline.contract import EARLIEST_MS, LATEST_MS
from pipeline.core.shown import utc
from pipeline.core.trends import post_order
from pipeline.errors import ConfigurationError
from pipeline.events import ScoredPost

CHUNK = 2_000
GZIP_MAGIC: Final = b"\x1f\x8b"
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
    with open_lines(path) as lines:
        first = next((line for line in lines if line.strip()), b"{}")
    try:
        values = json.loads(first)
    except ValueError as error:
        raise ConfigurationError(f"{path} line 1 is not JSON ({error}); give JSON lines, plain or .gz") from None
    return isinstance(values, dict) and "sentiment" in values and "simhash" in values


def read_scored(path: Path) -> Iterator[ScoredPost]:
    """Yield the scored posts of a file of JSON lines in event-time order.

    Raises ConfigurationError for a line that is no scored post, and where the event time goes back.
    """
    before_ms = EARLIEST_MS
    with open_lines(path) as lines:
        for chunk in _chunks(lines):
            for (number, _), post in zip(chunk, _decode(chunk, path), strict=True):
                if post.event_time_ms < before_ms:
                    raise unsorted(path, number, before_ms, post.event_time_ms)
                before_ms = post.event_time_ms
                yield post


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


@contextmanager
def open_lines(path: Path) -> Iterator[IO[bytes]]:
    """Open a file of lines, unpacked where its content is gzip, whatever its name says.

    Raises ConfigurationError for a file that cannot be read, also where it ends too early.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
            yield cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ConfigurationError(f"{path} cannot be read ({why}); give JSON lines, plain or .gz") from error


def parse_time(text: str) -> int:
    """Return epoch milliseconds of an ISO date or time (UTC unless it says otherwise) or of a number of milliseconds."""
    try:
        if text.isdigit():
            time_ms = int(text)
        else:
            moment = datetime.fromisoformat(text)
            time_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except ValueError:
        raise ConfigurationError(
            f"time {text!r} is not a date; write 2014-07-01, 2014-07-01T16:00 or epoch milliseconds"
        ) from None
    if not EARLIEST_MS <= time_ms < LATEST_MS:
        raise ConfigurationError(f"time {text!r} lies outside 2000 to 2100; epoch times are milliseconds")
    return time_ms


def unsorted(path: Path, number: int, before_ms: int, after_ms: int, mapped: bool = False) -> ConfigurationError:
    """Return the error for a file whose event time goes back, and how to sort it; ``mapped``: its fields have other names."""
    times = f"{utc(before_ms)} is followed by {utc(after_ms)} UTC"
    fix = "write its rows in the order of their times" if mapped or not has_lines(path) else _sorting(path)
    return ConfigurationError(f"{path} line {number}: event_time_ms goes back ({times}); sort the file first: {fix}")


def _sorting(path: Path) -> str:
    cat, pack = ("zcat", " | gzip > sorted.jsonl.gz") if path.suffix == ".gz" else ("cat", " > sorted.jsonl")
    return f"{cat} {quote(str(path))} | jq -c -s 'sort_by(.event_time_ms, .event_id, .entity)[]'{pack}"


def has_lines(path: Path) -> bool:
    """Return whether the name is that of a file of JSON lines, packed or not."""
    return any(name in {".jsonl", ".json", ".ndjson"} for name in path.suffixes)


def _chunks(lines: Iterable[bytes]) -> Iterator[list[Line]]:
    """Yield the lines that are not blank with their numbers, many at a time."""
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    while chunk := list(islice(numbered, CHUNK)):
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
            raise ConfigurationError(f"{path} line {number} is not a scored post: {where} = {shown}: {first['msg']}") from None
    return posts
