"""Content clusters: posts whose fingerprints differ in at most three bits count as one content for 24 hours.

Leader clustering in event-time order: a post joins the earliest living leader within reach, or leads a cluster itself. So
the cluster of a post depends on earlier posts alone, and taking back the newest posts is cutting the end off.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection
from struct import Struct
from sys import byteorder

MAX_DISTANCE = 3
_SCAN_BELOW = 24  # comparing so few one by one is faster than looking four blocks up
_BLOCKS = Struct("=4H").unpack
_NOBODY: frozenset[int] = frozenset()
_SLACK = 32  # dead leaders are dropped in bulk: they are skipped by their age anyway


class Clusters:
    """The leaders of the last ``memory_ms`` of one entity, at most ``capacity`` of them: 16 bytes each."""

    __slots__ = ("_index", "capacity", "first_ms", "leaders", "memory_ms")

    def __init__(self, memory_ms: int, capacity: int) -> None:
        self.memory_ms = memory_ms
        self.capacity = capacity
        self.leaders: array[int] = array("Q")
        self.first_ms: array[int] = array("q")
        self._index: BlockIndex | None = None

    def assign(self, fingerprint: int, time_ms: int) -> tuple[int, bool]:
        """Return the leader of this post, and whether the post itself is the leader. Call in event-time order."""
        leaders = self.leaders
        first, count = bisect_right(self.first_ms, time_ms - self.memory_ms), len(leaders)
        if count - first > self.capacity:
            first = count - self.capacity
        if count - first > _SCAN_BELOW:
            if self._index is None:
                self._index = BlockIndex(leaders)
            near = self._index.enter(fingerprint, count)
            if near and (leader := self._nearest(near, fingerprint, first)) is not None:
                self._index.take_back(fingerprint, count)
                return leader, False
        else:
            for leader in leaders[first:]:
                if (leader ^ fingerprint).bit_count() <= MAX_DISTANCE:
                    return leader, False
            if self._index is not None:
                self._index.enter(fingerprint, count)
        leaders.append(fingerprint)
        self.first_ms.append(time_ms)
        return fingerprint, True

    def since(self, time_ms: int) -> "array[int]":
        """Return the leaders that first spoke at or after ``time_ms``."""
        return self.leaders[bisect_left(self.first_ms, time_ms) :]

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

    def _nearest(self, near: Collection[int], fingerprint: int, first: int) -> int | None:
        """Return the earliest of these leaders that stands at or after ``first`` and within reach."""
        for at in sorted(near):
            if at >= first and (self.leaders[at] ^ fingerprint).bit_count() <= MAX_DISTANCE:
                return self.leaders[at]
        return None


class BlockIndex:
    """Where leaders stand, by each of their four blocks of 16 bits: three flipped bits leave one block untouched.

    ``_first`` holds the earliest leader of a block's value, ``_more`` the few others, ascending.
    """

    __slots__ = ("_first", "_more")

    def __init__(self, leaders: "array[int]") -> None:
        """Enter all leaders at once."""
        blocks = array("H", leaders.tobytes())
        last = len(leaders) - 1
        self._first: tuple[dict[int, int], ...] = tuple(
            dict(zip(blocks[block - 4 :: -4], range(last, -1, -1), strict=True)) for block in range(4)
        )
        self._more: dict[tuple[int, int], list[int]] = {}
        for block, first in enumerate(self._first):
            if len(first) <= last:
                for at, value in enumerate(blocks[block::4]):
                    if first[value] != at:
                        self._more.setdefault((block, value), []).append(at)

    def enter(self, fingerprint: int, at: int) -> Collection[int]:
        """Enter the newest leader; return the leaders that share a block with it."""
        first, second, third, fourth = self._first
        a, b, c, d = _BLOCKS(fingerprint.to_bytes(8, byteorder))
        known = (first.setdefault(a, at), second.setdefault(b, at), third.setdefault(c, at), fourth.setdefault(d, at))
        return _NOBODY if known == (at, at, at, at) else self._enter_more(known, (a, b, c, d), at)

    def take_back(self, fingerprint: int, at: int) -> None:
        """Take the newest leader out again."""
        for block, value in enumerate(_BLOCKS(fingerprint.to_bytes(8, byteorder))):
            if self._first[block][value] == at:
                del self._first[block][value]
            else:
                self._more[block, value].pop()

    def _enter_more(self, known: tuple[int, ...], values: tuple[int, ...], at: int) -> Collection[int]:
        near: set[int] = set()
        for block, earliest in enumerate(known):
            if earliest != at:
                more = self._more.setdefault((block, values[block]), [])
                near.update((earliest, *more))
                more.append(at)
        return near
