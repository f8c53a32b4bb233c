"""Where profiles live: the protocol, what its implementations share, and the memory twin.

The worker's effects on a profile are *fenced*: with the state, a store keeps the last applied offset of every partition
that spoke about the user, and an event at or below it is a no-op. So a redelivery changes nothing, and since the sums are
exact, any worker that applies the same records leaves the same bytes.

Forgetting a user removes all of that and leaves one number under the user's hashed key, the cutoff: events up to that
time never count again, so a replay does not bring the user back.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from pipeline.adapters.streams import TopicPartition
from pipeline.contract import FUTURE_TOLERANCE_MS
from pipeline.core.profile_bytes import decode, encode
from pipeline.core.rolling import Profile, ProfileEvent, add, check_half_lives, check_revision, half_lives_of, new_profile
from pipeline.errors import StateVersionError


@dataclass(frozen=True, slots=True)
class ProfileSpec:
    """What a new profile looks like. ``restart``: begin a profile of another model revision anew, instead of stopping."""

    model_revision: str
    dimensions: int
    half_lives_ms: tuple[int, ...]
    restart: bool = False


class Update(NamedTuple):
    """One event of one user, with the Kafka coordinates that fence it."""

    user_id: str
    partition: TopicPartition
    offset: int
    event: ProfileEvent


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of updates: counted, fenced (applied before), known under another offset, or before the user's cutoff."""

    applied: int = 0
    fenced: int = 0
    duplicates: int = 0
    forgotten: int = 0

    def __add__(self, other: "Applied") -> "Applied":
        """Return the sums."""
        return Applied(
            self.applied + other.applied,
            self.fenced + other.fenced,
            self.duplicates + other.duplicates,
            self.forgotten + other.forgotten,
        )


class Progress(NamedTuple):
    """How far a partition is processed durably: the next offset, and what became of the records before it."""

    next_offset: int = 0
    scored: int = 0
    dead: int = 0


class Outcomes(NamedTuple):
    """What became of the records of one partition up to ``next_offset``: their offsets, ascending."""

    next_offset: int
    scored: Sequence[int]
    dead: Sequence[int]

    def beyond(self, progress: Progress) -> Progress:
        """Return the progress after these outcomes; records that were counted before are not counted again."""
        scored = len(self.scored) - bisect_left(self.scored, progress.next_offset)
        dead = len(self.dead) - bisect_left(self.dead, progress.next_offset)
        return Progress(max(self.next_offset, progress.next_offset), progress.scored + scored, progress.dead + dead)


class ProfileStore(Protocol):
    """Keeps profiles and the progress of partitions. Every method raises Unavailable when the server does not answer."""

    def apply(self, updates: Sequence[Update], spec: ProfileSpec) -> Applied:
        """Fold the updates into their users' profiles, durably. Offsets ascend within a partition.

        Raises ConfigurationError for a profile of another model revision or other half-lives, unless ``spec.restart``.
        """

    def get(self, user_id: str) -> Profile | None:
        """Return a user's profile, or None."""

    def forget(self, user_id: str, now_ms: int) -> bool:
        """Remove every trace of a user, and refuse events up to now for ever. Return whether there was a profile.

        Also one that cannot be read.
        """

    def progress(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Progress]:
        """Return how far each of these partitions is processed; those never touched are left out."""

    def advance(self, outcomes: Mapping[TopicPartition, Outcomes]) -> None:
        """Count the outcomes, only forward: records below the stored next offset are not counted again."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What stands under a user's key. ``version`` counts the writes."""

    state: bytes | None = None
    version: int = 0
    offsets: Mapping[TopicPartition, int] = field(default_factory=dict)
    cutoff_ms: int | None = None


class Folded(NamedTuple):
    """A user's next state, or None where nothing is to be written, and the counts."""

    stored: Stored | None
    counts: Applied


def fold(stored: Stored, updates: Sequence[Update], spec: ProfileSpec) -> Folded:
    """Return what stands under a user's key after the updates. Pure; the stores only read, write and compare.

    An update whose offset is not above the ones before it, stored or in ``updates``, was applied already.
    """
    offsets, fresh = dict(stored.offsets), []
    for update in updates:
        if update.offset > offsets.get(update.partition, -1):
            offsets[update.partition] = update.offset
            fresh.append(update)
    counting = [u for u in fresh if stored.cutoff_ms is None or u.event.event_time_ms > stored.cutoff_ms]
    forgotten = len(fresh) - len(counting)
    if not counting:
        return Folded(None, Applied(fenced=len(updates) - len(fresh), forgotten=forgotten))
    profile = _open(updates[0].user_id, stored.state, spec)
    applied = sum(add(profile, update.event) for update in counting)
    counts = Applied(applied, len(updates) - len(fresh), len(counting) - applied, forgotten)
    return Folded(replace(stored, state=encode(profile), version=stored.version + 1, offsets=offsets), counts)


def by_user(updates: Iterable[Update]) -> dict[str, list[Update]]:
    """Return the updates of each user, in their order."""
    grouped: dict[str, list[Update]] = {}
    for update in updates:
        grouped.setdefault(update.user_id, []).append(update)
    return grouped


def read_state(user_id: str, state: bytes) -> Profile:
    """Return the profile of a user. Raises StateVersionError that names the user, where it cannot be read."""
    try:
        return decode(state)
    except StateVersionError as error:
        raise StateVersionError(f"user {user_id!r}: {error}") from error


def cutoff_for(state: bytes | None, now_ms: int) -> int:
    """Return up to which event time a user who is forgotten now stays forgotten.

    A state that cannot be read goes too: no event in it lies further ahead than clocks may differ.
    """
    try:
        return max(now_ms, decode(state).last_event_ms if state is not None else 0)
    except StateVersionError:
        return now_ms + FUTURE_TOLERANCE_MS


def _open(user_id: str, state: bytes | None, spec: ProfileSpec) -> Profile:
    fresh = new_profile(spec.model_revision, spec.dimensions, spec.half_lives_ms)
    if state is None:
        return fresh
    profile = read_state(user_id, state)
    if spec.restart and (profile.model_revision, half_lives_of(profile)) != (spec.model_revision, spec.half_lives_ms):
        return fresh
    check_revision(profile, spec.model_revision)
    check_half_lives(profile, spec.half_lives_ms)
    return profile


class MemoryProfileStore:
    """The twin in memory. It holds the very bytes that Redis would."""

    def __init__(self) -> None:
        self._users: dict[str, Stored] = {}
        self._progress: dict[TopicPartition, Progress] = {}
        self._lock = threading.Lock()

    def apply(self, updates: Sequence[Update], spec: ProfileSpec) -> Applied:
        """See ``ProfileStore.apply``."""
        counts = Applied()
        with self._lock:
            for user_id, own in by_user(updates).items():
                folded = fold(self._users.get(user_id, Stored()), own, spec)
                if folded.stored is not None:
                    self._users[user_id] = folded.stored
                counts += folded.counts
        return counts

    def get(self, user_id: str) -> Profile | None:
        """See ``ProfileStore.get``."""
        state = self._users.get(user_id, Stored()).state
        return None if state is None else read_state(user_id, state)

    def forget(self, user_id: str, now_ms: int) -> bool:
        """See ``ProfileStore.forget``."""
        with self._lock:
            stored = self._users.get(user_id, Stored())
            cutoff_ms = max(stored.cutoff_ms or 0, cutoff_for(stored.state, now_ms))
            self._users[user_id] = Stored(cutoff_ms=cutoff_ms)
        return stored.state is not None

    def progress(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Progress]:
        """See ``ProfileStore.progress``."""
        return {partition: self._progress[partition] for partition in partitions if partition in self._progress}

    def advance(self, outcomes: Mapping[TopicPartition, Outcomes]) -> None:
        """See ``ProfileStore.advance``."""
        with self._lock:
            for partition, outcome in outcomes.items():
                self._progress[partition] = outcome.beyond(self._progress.get(partition, Progress()))

    def __len__(self) -> int:
        """Return the number of users with a profile."""
        return sum(stored.state is not None for stored in self._users.values())

    def user_ids(self) -> list[str]:
        """Return the users with a profile."""
        return [user_id for user_id, stored in self._users.items() if stored.state is not None]
