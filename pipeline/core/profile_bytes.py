"""The bytes of a profile: one canonical form, with a version number. Equal profiles give equal bytes.

    version u16 | dimensions u16 | families u8 | events u64 | last event i64 | revision
    per family:  half-life i64 | buckets u16 | per bucket, k ascending: k i64 | mass i64 | sums i64 x dimensions
    recent items u16 | per item: time i64 | event id | action | item id | title
    seen u32 | 16 bytes each, sorted

Little-endian; a string is its length in bytes (u32) and UTF-8.
"""

import struct
from collections.abc import Iterator
from itertools import chain
from struct import Struct

import numpy as np

from pipeline.core.rolling import Bucket, Family, Profile, RecentItem
from pipeline.errors import StateVersionError

VERSION = 1

_VERSION = Struct("<H")
_HEAD = Struct("<HBQq")
_FAMILY = Struct("<qH")
_BUCKET = Struct("<qq")
_SHORT = Struct("<H")
_LONG = Struct("<I")
_TIME = Struct("<q")
_SEEN_BYTES = 16
_ANEW = "`groundswell user forget ID` removes it, and later events begin it anew"


def encode(profile: Profile) -> bytes:
    """Return the profile as bytes."""
    head = (
        _VERSION.pack(VERSION),
        _HEAD.pack(profile.dimensions, len(profile.families), profile.events, profile.last_event_ms),
        _text(profile.model_revision),
    )
    families = chain.from_iterable(map(_family, profile.families))
    recents = chain((_SHORT.pack(len(profile.recents)),), chain.from_iterable(map(_recent, profile.recents)))
    return b"".join((*head, *families, *recents, _LONG.pack(len(profile.seen) // _SEEN_BYTES), profile.seen))


def decode(encoded: bytes) -> Profile:
    """Return the profile. Raises StateVersionError for bytes of another version, or damaged ones."""
    version = _VERSION.unpack_from(encoded)[0] if len(encoded) >= _VERSION.size else 0
    if version != VERSION:
        fix = "run the version that wrote it" if version > VERSION else _ANEW
        raise StateVersionError(f"profile state has version {version}, this code reads {VERSION}; {fix}")
    try:
        return _Reader(encoded, _VERSION.size).profile()
    except (struct.error, ValueError) as error:
        raise StateVersionError(f"profile state of {len(encoded)} bytes is damaged ({error}); {_ANEW}") from error


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _LONG.pack(len(encoded)) + encoded


def _family(family: Family) -> Iterator[bytes]:
    yield _FAMILY.pack(family.half_life_ms, len(family.buckets))
    for k, bucket in sorted(family.buckets.items()):
        yield _BUCKET.pack(k, bucket.mass)
        yield bucket.sums.astype("<i8", copy=False).tobytes()


def _recent(item: RecentItem) -> Iterator[bytes]:
    yield _TIME.pack(item.event_time_ms)
    yield from map(_text, item[1:])


class _Reader:
    """Reads one profile from bytes, left to right."""

    def __init__(self, encoded: bytes, at: int) -> None:
        self._encoded = encoded
        self._at = at

    def profile(self) -> Profile:
        dimensions, families, events, last_event_ms = self._take(_HEAD)
        revision = self._text()
        read_families = tuple(self._family(dimensions) for _ in range(families))
        recents = [self._recent() for _ in range(self._take(_SHORT)[0])]
        seen = self._bytes(self._take(_LONG)[0] * _SEEN_BYTES)
        if self._at != len(self._encoded):
            raise ValueError(f"{len(self._encoded) - self._at} bytes too many")
        return Profile(revision, dimensions, read_families, recents, seen, events, last_event_ms)

    def _take(self, layout: Struct) -> tuple[int, ...]:
        values = layout.unpack_from(self._encoded, self._at)
        self._at += layout.size
        return values

    def _bytes(self, size: int) -> bytes:
        taken = self._encoded[self._at : self._at + size]
        if len(taken) != size:
            raise ValueError(f"{size - len(taken)} bytes missing")
        self._at += size
        return taken

    def _text(self) -> str:
        return self._bytes(self._take(_LONG)[0]).decode()

    def _family(self, dimensions: int) -> Family:
        half_life_ms, count = self._take(_FAMILY)
        return Family(half_life_ms, dict(self._bucket(dimensions) for _ in range(count)))

    def _bucket(self, dimensions: int) -> tuple[int, Bucket]:
        k, mass = self._take(_BUCKET)
        sums = np.frombuffer(self._bytes(8 * dimensions), dtype="<i8").astype(np.int64, copy=False)
        return k, Bucket(mass, sums)

    def _recent(self) -> RecentItem:
        (event_time_ms,) = self._take(_TIME)
        return RecentItem(event_time_ms, self._text(), self._text(), self._text(), self._text())
