"""Which partition a key belongs to: Kafka's default partitioner (murmur2), so that every client and the memory twin agree."""

import struct
from functools import lru_cache

SEED = 0x9747B28C
M = 0x5BD1E995
MASK = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return the 32-bit MurmurHash2 of ``data`` as Kafka's Java client computes it (Austin Appleby, 2008)."""
    length = len(data)
    words = length // 4
    h = SEED ^ length
    for k in struct.unpack_from(f"<{words}I", data):
        k = k * M & MASK
        h = (h * M & MASK) ^ ((k ^ k >> 24) * M & MASK)
    tail = data[words * 4 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * M & MASK
    h = (h ^ h >> 13) * M & MASK
    return h ^ h >> 15


@lru_cache(maxsize=65_536)
def partition_for(key: bytes, partitions: int) -> int:
    """Return the partition of ``key`` in a topic with that many partitions."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
