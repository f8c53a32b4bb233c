"""Content clusters: posts whose fingerprints differ in at most three bits count as one content for 24 hours.

Leader clustering in event-time order: a post joins the earliest living leader within reach, or leads a cluster itself. So
the cluster of a post depends on earlier posts alone, and taking back the newest posts is cutting the end off.
"""

from array import array
from bisect import bisect_left

MAX_DISTANCE = 3


class Clusters:
    """The leaders of the last ``memory_ms`` of one entity, at most ``capacity`` of them: 16 bytes each."""

    __slots__ = ("_index", "capacity", "first_ms", "leaders", "memory_ms")

    def __init__(self, memory_ms: int, capacity: int) -> None:
        self.memory_ms = memory_ms
        self.capacity = capacity
        self.leaders: array[int] = array("Q")
        self.first_ms: array[int] = array("q")
        self._index: dict[int, list[int]] | None = {}

    def assign(self, fingerprint: int, time_ms: int) -> tuple[int, bool]:
        """Return the leader of this post, and whether the post itself is the leader. Call in event-time order."""
        if self._index is None:
            self._index = self._build_index()
        oldest = time_ms - self.memory_ms
        first = max(0, len(self.leaders) - self.capacity)
        best = -1
        for key in _keys(fingerprint):
            for at in self._index.get(key, ()):
                alive = at >= first and self.first_ms[at] > oldest
                if alive and (best < 0 or at < best) and (self.leaders[at] ^ fingerprint).bit_count() <= MAX_DISTANCE:
                    best = at
        if best >= 0:
            return self.leaders[best], False
        self._lead(fingerprint, time_ms, self._index)
        return fingerprint, True

    def cut_from(self, time_ms: int) -> None:
        """Forget the leaders that first spoke at or after ``time_ms``."""
        keep = bisect_left(self.first_ms, time_ms)
        if keep < len(self.leaders):
            del self.leaders[keep:], self.first_ms[keep:]
            self._index = None

    def forget_before(self, time_ms: int) -> None:
        """Drop the leaders that no post at or after ``time_ms`` can join, even if everything since is taken back."""
        beyond_capacity = bisect_left(self.first_ms, time_ms) - self.capacity
        drop = max(bisect_left(self.first_ms, time_ms - self.memory_ms), beyond_capacity)
        if drop > 0:
            del self.leaders[:drop], self.first_ms[:drop]
            self._index = None

    def restore(self, leaders: bytes, first_ms: bytes) -> None:
        """Take the leaders from the bytes of the two arrays."""
        self.leaders.frombytes(leaders)
        self.first_ms.frombytes(first_ms)
        self._index = None

    def _lead(self, fingerprint: int, time_ms: int, index: dict[int, list[int]]) -> None:
        at = len(self.leaders)
        self.leaders.append(fingerprint)
        self.first_ms.append(time_ms)
        for key in _keys(fingerprint):
            index.setdefault(key, []).append(at)

    def _build_index(self) -> dict[int, list[int]]:
        index: dict[int, list[int]] = {}
        for at, leader in enumerate(self.leaders):
            for key in _keys(leader):
                index.setdefault(key, []).append(at)
        return index


def _keys(fingerprint: int) -> tuple[int, int, int, int]:
    return (
        fingerprint & 0xFFFF,
        fingerprint >> 16 & 0xFFFF | 0x10000,
        fingerprint >> 32 & 0xFFFF | 0x20000,
        fingerprint >> 48 | 0x30000,
    )
