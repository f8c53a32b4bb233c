"""Content clusters: posts whose fingerprints differ in at most three bits count as one content for 24 hours.

Leader clustering in event-time order: a post joins the earliest living leader within reach, or leads a cluster itself. So
the cluster of a post depends on earlier posts alone, and taking back the newest posts is cutting the end off.
"""

from array import array
from bisect import bisect_left, bisect_right

MAX_DISTANCE = 3
_SCAN_BELOW = 24  # comparing so few one by one is faster than looking four blocks up
_SLACK = 32  # dead leaders are dropped in bulk: they are skipped by their age anyway


class Clusters:
    """The leaders of the last ``memory_ms`` of one entity, at most ``capacity`` of them: 16 bytes each."""

    __slots__ = ("_index", "capacity", "first_ms", "leaders", "memory_ms")

    def __init__(self, memory_ms: int, capacity: int) -> None:
        self.memory_ms = memory_ms
        self.capacity = capacity
        self.leaders: array[int] = array("Q")
        self.first_ms: array[int] = array("q")
        self._index: dict[int, tuple[int, ...]] | None = None

    def assign(self, fingerprint: int, time_ms: int) -> tuple[int, bool]:
        """Return the leader of this post, and whether the post itself is the leader. Call in event-time order."""
        leaders = self.leaders
        first = max(bisect_right(self.first_ms, time_ms - self.memory_ms), len(leaders) - self.capacity)
        if len(leaders) - first <= _SCAN_BELOW:
            at = next((i for i in range(first, len(leaders)) if (leaders[i] ^ fingerprint).bit_count() <= MAX_DISTANCE), -1)
        else:
            at = self._look_up(fingerprint, first)
        if at >= 0:
            return leaders[at], False
        if self._index is not None:
            self._enter(self._index, len(leaders), fingerprint)
        leaders.append(fingerprint)
        self.first_ms.append(time_ms)
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
        drop = max(bisect_right(self.first_ms, time_ms - self.memory_ms), beyond_capacity)
        if drop > _SLACK and 2 * drop > len(self.leaders):
            del self.leaders[:drop], self.first_ms[:drop]
            self._index = None

    def restore(self, leaders: bytes, first_ms: bytes) -> None:
        """Take the leaders from the bytes of the two arrays."""
        self.leaders.frombytes(leaders)
        self.first_ms.frombytes(first_ms)
        self._index = None

    def _look_up(self, fingerprint: int, first: int) -> int:
        """Return the earliest leader within reach, by blocks of 16 bits: three flipped bits leave one block untouched."""
        if self._index is None:
            self._index = {}
            for at, leader in enumerate(self.leaders):
                self._enter(self._index, at, leader)
        best = -1
        for key in _blocks(fingerprint):
            for at in self._index.get(key, ()):
                if (best < 0 or at < best) and at >= first and (self.leaders[at] ^ fingerprint).bit_count() <= MAX_DISTANCE:
                    best = at
        return best

    @staticmethod
    def _enter(index: dict[int, tuple[int, ...]], at: int, leader: int) -> None:
        for key in _blocks(leader):
            known = index.get(key)
            index[key] = (at,) if known is None else (*known, at)


def _blocks(fingerprint: int) -> tuple[int, int, int, int]:
    return (
        fingerprint & 0xFFFF,
        fingerprint >> 16 & 0xFFFF | 0x10000,
        fingerprint >> 32 & 0xFFFF | 0x20000,
        fingerprint >> 48 | 0x30000,
    )
