"""The rolling profile of one user: exact, order-free, mergeable.

Forward decay (Cormode et al., ICDE 2009) in half-life buckets of fixed-point integers. For a half-life H, an event at
time t with weight w and unit vector x goes to bucket k = floor(t / H) with m = w * 2^((t - kH) / H):

    Q_k += round(2^20 * m * x)        N_k += round(2^20 * m)

Integer sums are associative, so the same set of events gives the same bytes in any order, after any split and merge.

- Only buckets of the newest 32 half-lives are kept: what is older weighs less than 2^-31 of an event of today.
- An event is known by (event time, 64-bit hash of its id); the newest 4,096 of a user are remembered. A duplicate inside
  this horizon counts once. An older duplicate would count again: Kafka's offsets fence those (``adapters.stores``).
- An event without text has no vector: it changes the recent items and the count, not the sums.
- |x| <= 1 and w <= 1,024, so a bucket holds 2^32 events before int64 overflows.
- A profile belongs to one model revision. Vectors of two revisions live in different spaces: mixing them is an error.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigurationError

FIXED_POINT = 2**20
KEPT_HALF_LIVES = 32
RECENT_ITEMS = 50
SEEN_EVENTS = 4_096
MAX_WEIGHT = 1_024.0
TITLE_CHARS = 120

Sums = npt.NDArray[np.int64]
Vector = npt.NDArray[np.float32]
Direction = npt.NDArray[np.float64]

_SEEN = Struct(">Q8s")  # big-endian, so that bytes sort as (time, hash) does
_LN2 = math.log(2.0)
_TAYLOR = tuple(1.0 / math.factorial(n) for n in range(17, -1, -1))


@dataclass(frozen=True, slots=True)
class ProfileEvent:
    """What one event means to a profile. ``vector``: (d,) unit vector, or None where there was no text."""

    event_id: str
    event_time_ms: int
    action: str
    weight: float
    vector: Vector | None
    item_id: str = ""
    title: str = ""


class RecentItem(NamedTuple):
    """One of the newest events of a user, in the order (event_time_ms, event_id)."""

    event_time_ms: int
    event_id: str
    action: str
    item_id: str
    title: str


class Bucket(NamedTuple):
    """Sums of one half-life: ``mass`` is N_k, ``sums`` is Q_k of shape (d,). Never changed in place."""

    mass: int
    sums: Sums


@dataclass(slots=True)
class Family:
    """The buckets of one half-life, by k."""

    half_life_ms: int
    buckets: dict[int, Bucket] = field(default_factory=dict)


@dataclass(slots=True)
class Profile:
    """The state of one user. ``seen`` holds 16 bytes an event, sorted."""

    model_revision: str
    dimensions: int
    families: tuple[Family, ...]
    recents: list[RecentItem] = field(default_factory=list)
    seen: bytes = b""
    events: int = 0
    last_event_ms: int = 0


def new_profile(model_revision: str, dimensions: int, half_lives_ms: Iterable[int]) -> Profile:
    """Return the profile of a user never seen."""
    return Profile(model_revision, dimensions, tuple(Family(half_life) for half_life in half_lives_ms))


def exp2_fraction(numerator: int, denominator: int) -> float:
    """Return 2^(numerator / denominator) for a fraction in [0, 1), the same on every machine.

    Seventeen terms of the Taylor series in plain IEEE multiplications and additions: libm's exp2 differs by platform.
    """
    x = numerator / denominator * _LN2
    total = 0.0
    for coefficient in _TAYLOR:
        total = total * x + coefficient
    return total


def add(profile: Profile, event: ProfileEvent) -> bool:
    """Count one event; return False for a duplicate. Raises ValueError for a weight or a vector out of range."""
    key = _seen_key(event.event_time_ms, event.event_id)
    at = _place(profile.seen, key)
    if profile.seen.startswith(key, at):
        return False
    if event.vector is not None:
        _add_vector(profile, event.event_time_ms, event.weight, event.vector)
    recent = RecentItem(event.event_time_ms, event.event_id, event.action, event.item_id, event.title[:TITLE_CHARS])
    insort(profile.recents, recent)
    profile.seen = (profile.seen[:at] + key + profile.seen[at:])[-SEEN_EVENTS * _SEEN.size :]
    del profile.recents[:-RECENT_ITEMS]
    profile.events += 1
    profile.last_event_ms = max(profile.last_event_ms, event.event_time_ms)
    return True


def merge(left: Profile, right: Profile) -> Profile:
    """Return the profile of both event sets together; they must have no event in common."""
    check_revision(left, right.model_revision)
    if [f.half_life_ms for f in left.families] != [f.half_life_ms for f in right.families]:
        raise ConfigurationError("profiles of different half-lives cannot be merged; rebuild one of them")
    families = tuple(_merge_family(a, b) for a, b in zip(left.families, right.families, strict=True))
    recents = sorted(left.recents + right.recents)[-RECENT_ITEMS:]
    seen = b"".join(sorted(set(_seen_keys(left.seen)) | set(_seen_keys(right.seen)))[-SEEN_EVENTS:])
    last_event_ms = max(left.last_event_ms, right.last_event_ms)
    events = left.events + right.events
    return Profile(left.model_revision, left.dimensions, families, recents, seen, events, last_event_ms)


def check_revision(profile: Profile, model_revision: str) -> None:
    """Raise ConfigurationError where a profile was built with another model."""
    if profile.model_revision != model_revision:
        raise ConfigurationError(
            f"profile was built with model revision {profile.model_revision!r}, not {model_revision!r}; "
            "run the worker with --restart-profiles to begin such profiles anew, or go back to the old model"
        )


def check_half_lives(profile: Profile, half_lives_ms: tuple[int, ...]) -> None:
    """Raise ConfigurationError where a profile decays by other half-lives: what it has forgotten cannot be had back."""
    found = half_lives_of(profile)
    if found != half_lives_ms:
        was, asked = ([ms / 86_400_000 for ms in each] for each in (found, half_lives_ms))
        raise ConfigurationError(
            f"profile was built with half-lives of {was} days, not {asked}; run the worker with --restart-profiles to begin such "
            f"profiles anew, or: export GROUNDSWELL_PROFILES__HALF_LIFE_DAYS='{was}'"
        )


def half_lives_of(profile: Profile) -> tuple[int, ...]:
    """Return by what half-lives a profile decays, in milliseconds."""
    return tuple(family.half_life_ms for family in profile.families)


def direction(family: Family, dimensions: int) -> Direction:
    """Return the decayed sum of a half-life as a unit vector (d,); zeros where there is nothing."""
    total = _decayed_sum(family, dimensions)
    norm = float(np.sqrt(np.sum(total * total)))
    return total / norm if norm > 0.0 else total


def concentration(family: Family, dimensions: int) -> float:
    """Return |S| / W in [0, 1]: 1 when all events point the same way, near 0 for scattered interests."""
    if not family.buckets:
        return 0.0
    newest = max(family.buckets)
    mass = sum(math.ldexp(bucket.mass, k - newest) for k, bucket in sorted(family.buckets.items()))
    total = _decayed_sum(family, dimensions)
    return float(np.sqrt(np.sum(total * total))) / mass if mass > 0.0 else 0.0


def mass_at(family: Family, time_ms: int) -> float:
    """Return the decayed weight W of all events as seen at ``time_ms``: one event of weight 1 counts 0.5 after H."""
    landmark, rest = divmod(time_ms, family.half_life_ms)
    scale = FIXED_POINT * exp2_fraction(rest, family.half_life_ms)
    return sum(math.ldexp(bucket.mass, k - landmark) / scale for k, bucket in sorted(family.buckets.items()))


def serving_vector(profile: Profile) -> Direction:
    """Return what recommendations search with: the unit vector of the mean of all half-lives' directions, (d,)."""
    total = np.zeros(profile.dimensions)
    for family in profile.families:
        total = total + direction(family, profile.dimensions)
    norm = float(np.sqrt(np.sum(total * total)))
    return total / norm if norm > 0.0 else total


def _seen_key(event_time_ms: int, event_id: str) -> bytes:
    return _SEEN.pack(event_time_ms, blake2b(event_id.encode(), digest_size=8).digest())


def _seen_keys(seen: bytes) -> list[bytes]:
    return [seen[start : start + _SEEN.size] for start in range(0, len(seen), _SEEN.size)]


def _place(seen: bytes, key: bytes) -> int:
    """Return where ``key`` stands among the sorted keys, or belongs."""
    size = _SEEN.size
    return size * bisect_left(range(len(seen) // size), key, key=lambda index: seen[index * size : (index + 1) * size])


def _add_vector(profile: Profile, event_time_ms: int, weight: float, vector: Vector) -> None:
    exact = vector.astype(np.float64)
    if exact.shape != (profile.dimensions,) or not float(exact @ exact) <= 1.01:
        raise ValueError(f"vector of event at {event_time_ms} is not a unit vector of {profile.dimensions} numbers")
    if not 0.0 < weight <= MAX_WEIGHT:
        raise ValueError(f"weight = {weight}; use one above 0 and at most {MAX_WEIGHT}")
    for family in profile.families:
        k, rest = divmod(event_time_ms, family.half_life_ms)
        scale = FIXED_POINT * weight * exp2_fraction(rest, family.half_life_ms)
        _add_bucket(family, k, Bucket(round(scale), np.rint(exact * scale).astype(np.int64)))


def _add_bucket(family: Family, k: int, addition: Bucket) -> None:
    buckets = family.buckets
    standing = buckets.get(k)
    if standing is not None:
        buckets[k] = Bucket(standing.mass + addition.mass, standing.sums + addition.sums)
        return
    buckets[k] = addition
    oldest_kept = max(buckets) - KEPT_HALF_LIVES + 1
    for old in [other for other in buckets if other < oldest_kept]:
        del buckets[old]


def _merge_family(left: Family, right: Family) -> Family:
    merged = Family(left.half_life_ms, dict(left.buckets))
    for k, bucket in right.buckets.items():
        _add_bucket(merged, k, bucket)
    return merged


def _decayed_sum(family: Family, dimensions: int) -> Direction:
    """Return S = sum of 2^(k - newest) Q_k, in ascending k, so that the sum does not depend on the order of arrival."""
    total = np.zeros(dimensions)
    newest = max(family.buckets, default=0)
    for k, bucket in sorted(family.buckets.items()):
        total = total + np.ldexp(bucket.sums.astype(np.float64), k - newest)
    return total
