"""Where the posts of one entity stand in time."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pipeline.events import ScoredPost

Ints = npt.NDArray[np.int64]


class ByEntity:
    """The posts of each entity in time order, with binary search by time."""

    def __init__(self, posts: Iterable[ScoredPost]) -> None:
        self._posts: dict[str, list[ScoredPost]] = {}
        for post in posts:
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
