"""Scored posts in event-time order, and where the posts of one entity stand."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.backtest.lines import open_text
from pipeline.errors import ConfigurationError
from pipeline.events import ScoredPost

Ints = npt.NDArray[np.int64]


def read_scored(path: Path) -> list[ScoredPost]:
    """Return the scored posts of one file, without second copies of the same post about the same entity.

    Raises ConfigurationError for a line that is no scored post, and where the event time goes back.
    """
    posts: list[ScoredPost] = []
    seen: set[tuple[str, str]] = set()
    with open_text(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            post = _parse(line, path, number)
            if posts and post.event_time_ms < posts[-1].event_time_ms:
                raise unsorted(path, number, posts[-1].event_time_ms, post.event_time_ms)
            if (post.event_id, post.entity) not in seen:
                seen.add((post.event_id, post.entity))
                posts.append(post)
    return posts


def _parse(line: str, path: Path, number: int) -> ScoredPost:
    try:
        return ScoredPost.model_validate_json(line)
    except ValueError as error:
        first = str(error).splitlines()[:3]
        raise ConfigurationError(f"{path} line {number} is not a scored post: {' '.join(first)}") from None


def unsorted(path: Path, number: int, before_ms: int, after_ms: int) -> ConfigurationError:
    """Return the error for a file whose event time goes back, with the command that sorts it."""
    plain = f"zcat {path}" if path.suffix == ".gz" else f"cat {path}"
    fix = f"{plain} | jq -c -s 'sort_by(.event_time_ms, .event_id, .entity)[]' > sorted.jsonl"
    times = f"{_utc(before_ms)} is followed by {_utc(after_ms)}"
    return ConfigurationError(f"{path} line {number}: event_time_ms goes back ({times}); sort the file first: {fix}")


def _utc(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


def merge(files: Iterable[Sequence[ScoredPost]]) -> list[ScoredPost]:
    """Return the posts of several files in one event-time order, each once."""
    unique = {(post.event_id, post.entity): post for posts in files for post in posts}
    return sorted(unique.values(), key=lambda post: (post.event_time_ms, post.event_id, post.entity))


class ByEntity:
    """The posts of each entity in time order, with binary search by time."""

    def __init__(self, posts: Iterable[ScoredPost]) -> None:
        self._posts: dict[str, list[ScoredPost]] = {}
        for post in posts:
            if post.entity:
                self._posts.setdefault(post.entity, []).append(post)
        self._times: dict[str, Ints] = {
            entity: np.array([post.event_time_ms for post in own], dtype=np.int64) for entity, own in self._posts.items()
        }

    @property
    def entities(self) -> tuple[str, ...]:
        """Return the entities that any post names, ascending."""
        return tuple(sorted(self._posts))

    def times_ms(self, entity: str) -> Ints:
        """Return the event times of the entity's posts, ascending; shape (n,)."""
        return self._times.get(entity, np.empty(0, dtype=np.int64))

    def between(self, entity: str, from_ms: int, to_ms: int) -> list[ScoredPost]:
        """Return the entity's posts in [from_ms, to_ms)."""
        first, last = np.searchsorted(self.times_ms(entity), (from_ms, to_ms))
        return self._posts.get(entity, [])[first:last]

    def count(self, entity: str, from_ms: int, to_ms: int) -> int:
        """Return how many posts name the entity in [from_ms, to_ms)."""
        first, last = np.searchsorted(self.times_ms(entity), (from_ms, to_ms))
        return int(last - first)
