"""Content clusters: posts whose fingerprints differ in at most three bits count as one content for 24 hours.

Leader clustering in event-time order: a post joins the earliest living leader within reach, or leads a cluster itself. So
the cluster of a post depends on earlier posts alone, and taking back the newest posts is cutting the end off.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from struct import Struct

MAX_DISTANCE = 3
BLOCK_BITS = 16
_FOUR = Struct("=4i").pack
_SCAN_BELOW = 24  # comparing so few one by one is faster than looking four blocks up
_SLACK = 32  # dead leaders are dropped in bulk: they are skipped by their age anyway


class Clusters:
    """The leaders of the last ``memory_ms`` of one entity, at most ``capacity`` of them: 16 bytes each."""

    __slots__ = ("_first", "_index", "capacity", "first_ms", "leaders", "memory_ms")

    def __init__(self, memory_ms: int, capacity: int) -> None:
        self.memory_ms = memory_ms
        self.capacity = capacity
        self.leaders: array[int] = array("Q")
        self.first_ms: array[int] = array("q")
        self._first = 0  # of the leaders that lived at the last call: none before it comes to life again
        self._index: BlockIndex | None = None

    def assign(self, fingerprint: int, time_ms: int) -> tuple[int, bool]:
        """Return the leader of this post, and whether the post itself is the leader. Call in event-time order."""
        leaders, first_ms, first = self.leaders, self.first_ms, self._first
        count, dead_ms = len(leaders), time_ms - self.memory_ms
        while first < count and first_ms[first] <= dead_ms:
            first += 1
        if count - first > self.capacity:
            first = count - self.capacity
        self._first = first
        if count - first > _SCAN_BELOW:
            index = self._index
            if index is None or count > index.most:
                index = self._index = BlockIndex(leaders)
            leader = index.join(fingerprint, first)
        else:
            self._index = None
            leader = next((each for each in leaders[first:] if (each ^ fingerprint).bit_count() <= MAX_DISTANCE), None)
        if leader is not None:
            return leader, False
        leaders.append(fingerprint)
        first_ms.append(time_ms)
        return fingerprint, True

    def cut_from(self, time_ms: int) -> None:
        """Forget the leaders that first spoke at or after ``time_ms``."""
        keep = bisect_left(self.first_ms, time_ms)
        if keep < len(self.leaders):
            del self.leaders[keep:], self.first_ms[keep:]
            self._first, self._index = 0, None

    def forget_before(self, time_ms: int) -> None:
        """Drop the leaders that no post at or after ``time_ms`` can join, even if everything since is taken back."""
        beyond_capacity = bisect_left(self.first_ms, time_ms) - self.capacity
        drop = max(bisect_right(self.first_ms, time_ms - self.memory_ms), beyond_capacity)
        if drop > _SLACK and 4 * drop > len(self.leaders):
            del self.leaders[:drop], self.first_ms[:drop]
            self._first = max(0, self._first - drop)
            if self._index is not None:
                self._index.forget(drop)

    def since(self, time_ms: int) -> "array[int]":
        """Return the leaders that first spoke at or after ``time_ms``."""
        return self.leaders[bisect_left(self.first_ms, time_ms) :]

    def restore(self, leaders: bytes, first_ms: bytes) -> None:
        """Take the leaders from the bytes of the two arrays."""
        self.leaders.frombytes(leaders)
        self.first_ms.frombytes(first_ms)
        self._first, self._index = 0, None


class BlockIndex:
    """Where leaders stand, by each of their four blocks of 16 bits: three flipped bits leave one block untouched.

    A hash table in two arrays, 32 to 48 bytes a leader: ``_newest`` holds the newest leader of a slot, ``_before`` by leader
    and block the one before it in the same slot. Leaders are numbered from the first one entered, so that none changes its
    number when ``_gone`` of them are forgotten. With more than ``most`` leaders a new index, of more slots, would be faster.
    """

    __slots__ = ("_before", "_gone", "_leaders", "_newest", "_slots", "most")

    def __init__(self, leaders: "array[int]") -> None:
        """Enter all leaders; those that are appended must be entered as they come."""
        self._leaders = leaders
        self._gone = 0
        self._slots = min(1 << len(leaders).bit_length(), 1 << BLOCK_BITS)
        self.most = self._slots if self._slots < 1 << BLOCK_BITS else sys.maxsize  # a block has no more values
        self._newest = array("i", [-1]) * (4 * self._slots)
        self._before = array("i")
        for at, leader in enumerate(leaders):
            self.join(leader, at)

    def forget(self, drop: int) -> None:
        """Take notice that the first ``drop`` leaders are gone."""
        self._gone += drop
        del self._before[: 4 * drop]

    def join(self, fingerprint: int, first: int) -> int | None:
        """Return the earliest leader that stands at or after ``first`` and within reach; where none does, enter a new one."""
        leaders, newest, before, gone = self._leaders, self._newest, self._before, self._gone
        slots, last = self._slots, self._slots - 1
        a, b = fingerprint & last, slots + (fingerprint >> 16 & last)
        c, d = 2 * slots + (fingerprint >> 32 & last), 3 * slots + (fingerprint >> 48 & last)
        chains = newest[a], newest[b], newest[c], newest[d]
        found = count = gone + (len(before) >> 2)
        first += gone
        for block, at in enumerate(chains, -4 * gone):
            while at >= first:
                if at < found and (leaders[at - gone] ^ fingerprint).bit_count() <= MAX_DISTANCE:
                    found = at
                at = before[4 * at + block]
        if found < count:
            return leaders[found - gone]
        before.frombytes(_FOUR(*chains))  # twice as fast as ``extend``
        newest[a] = newest[b] = newest[c] = newest[d] = count
        return None
