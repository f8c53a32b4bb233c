"""Profiles in Redis 7 or later (and Valkey): one hash per user, one per partition, written by one library of functions.

    KEY_PREFIX user:HASH                   s state, v version, r model revision, o:TOPIC:PARTITION last applied offset,
                                           c forgotten up to (the only field that is left of a forgotten user)
    KEY_PREFIX progress:TOPIC:PARTITION    next, scored, dead

HASH is blake2b of the user id, so no id stands in a key name. The maths stays in the worker: it reads states, folds, and
writes with a compare-and-set on version and offsets (``functions/groundswell_v1.lua``); who loses folds again on the new
state. Reads and writes go in one pipeline each per batch. States expire after ``idle_ttl_days`` without a write.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from importlib import resources
from itertools import islice
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pipeline.adapters.redis_answers import answering, make_client
from pipeline.adapters.stores import (
    Applied,
    Folded,
    Outcomes,
    ProfileSpec,
    Progress,
    Stored,
    Update,
    by_user,
    cutoff_for,
    fold,
    read_state,
)
from pipeline.adapters.streams import TopicPartition
from pipeline.core.rolling import Profile
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.times import DAY_MS

LIBRARY = "groundswell_v1"
USERS_PER_PIPELINE = 500
MAX_ROUNDS = 20  # of compare-and-set; a user whose every round is lost has that many writers at once


def connect(url: str, timeout_s: float = 10.0) -> "redis.Redis":
    """Return a client that gives up after ``timeout_s``.

    It never repeats a command by itself: a connection that broke may mean a server that lost its tail, which the worker
    must see (``workers.positions``).
    """
    return make_client(url, timeout_s, retry=Retry(NoBackoff(), 0), client_name="groundswell")


def user_key(key_prefix: str, user_id: str) -> str:
    """Return the key of a user's hash."""
    return f"{key_prefix}user:{blake2b(user_id.encode(), digest_size=16).hexdigest()}"


def progress_key(key_prefix: str, partition: TopicPartition) -> str:
    """Return the key of a partition's hash."""
    return f"{key_prefix}progress:{partition.topic}:{partition.partition}"


class RedisProfileStore:
    """See ``stores.ProfileStore``."""

    def __init__(self, client: "redis.Redis", key_prefix: str, idle_ttl_days: int = 400) -> None:
        self._client = client
        self._prefix = key_prefix
        self._idle_ttl_ms = idle_ttl_days * DAY_MS
        self._library_loaded = False

    def apply(self, updates: Sequence[Update], spec: ProfileSpec) -> Applied:
        """See ``ProfileStore.apply``."""
        pending, counts = by_user(updates), Applied()
        for _ in range(MAX_ROUNDS):
            losers: dict[str, list[Update]] = {}
            for users in _chunks(pending.items()):
                folded, lost = self._apply_once(dict(users), spec)
                losers |= lost
                counts = sum((one.counts for user_id, one in folded.items() if user_id not in lost), counts)
            if not losers:
                return counts
            pending = losers
        raise Unavailable(f"{len(pending)} profiles change faster than they can be written; the batch is tried again")

    def get(self, user_id: str) -> Profile | None:
        """See ``ProfileStore.get``."""
        with self._answering():
            state = self._client.hget(user_key(self._prefix, user_id), "s")
        return None if state is None else read_state(user_id, _bytes(state))

    def forget(self, user_id: str, now_ms: int) -> bool:
        """See ``ProfileStore.forget``."""
        key = user_key(self._prefix, user_id)
        for _ in range(MAX_ROUNDS):
            with self._answering():
                state, version = self._client.hmget(key, ["s", "v"])
                cutoff = cutoff_for(None if state is None else _bytes(state), now_ms)
                done = self._client.fcall(f"{LIBRARY}_forget", 1, key, str(int(version or 0)), str(cutoff))
            if done == 1:
                return state is not None
        raise Unavailable("the profile changes faster than it can be forgotten; try again")

    def progress(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Progress]:
        """See ``ProfileStore.progress``."""
        asked = list(partitions)
        with self._answering():
            pipe = self._client.pipeline(transaction=False)
            for partition in asked:
                pipe.hmget(progress_key(self._prefix, partition), ["next", "scored", "dead"])
            rows = pipe.execute()
        return {p: Progress(*map(int, row)) for p, row in zip(asked, rows, strict=True) if row[0] is not None}

    def advance(self, outcomes: Mapping[TopicPartition, Outcomes]) -> None:
        """See ``ProfileStore.advance``."""
        pending = dict(outcomes)
        for _ in range(MAX_ROUNDS):
            if not pending:
                return
            standing = self.progress(pending)
            with self._answering():
                pipe = self._client.pipeline(transaction=False)
                for partition, outcome in pending.items():
                    before = standing.get(partition, Progress())
                    args = map(str, (before.next_offset, *outcome.beyond(before)))
                    pipe.fcall(f"{LIBRARY}_advance", 1, progress_key(self._prefix, partition), *args)
                written = pipe.execute()
            pending = {p: pending[p] for p, done in zip(list(pending), written, strict=True) if done != 1}
        raise Unavailable(f"the progress of {len(pending)} partitions changes under other writers; the batch is tried again")

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _apply_once(
        self, users: Mapping[str, Sequence[Update]], spec: ProfileSpec
    ) -> tuple[dict[str, Folded], dict[str, list[Update]]]:
        """Read, fold and write some users; return what was folded and the updates of the users who lost the race."""
        standing = self._read(users)
        folded = {user_id: fold(standing[user_id], updates, spec) for user_id, updates in users.items()}
        changed = [user_id for user_id, one in folded.items() if one.stored is not None]
        with self._answering():
            pipe = self._client.pipeline(transaction=False)
            for user_id in changed:
                pipe.fcall(
                    f"{LIBRARY}_write",
                    1,
                    user_key(self._prefix, user_id),
                    *self._write_args(standing[user_id], folded[user_id], spec),
                )
            written = pipe.execute() if changed else []
        lost = {user_id: list(users[user_id]) for user_id, done in zip(changed, written, strict=True) if done != 1}
        return folded, lost

    def _read(self, users: Mapping[str, Sequence[Update]]) -> dict[str, Stored]:
        partitions = {user_id: list(dict.fromkeys(u.partition for u in updates)) for user_id, updates in users.items()}
        with self._answering():
            pipe = self._client.pipeline(transaction=False)
            for user_id, spoken in partitions.items():
                pipe.hmget(user_key(self._prefix, user_id), ["s", "v", "c", *map(_offset_field, spoken)])
            rows = pipe.execute()
        return {user_id: _stored(row, partitions[user_id]) for user_id, row in zip(partitions, rows, strict=True)}

    def _write_args(self, standing: Stored, folded: Folded, spec: ProfileSpec) -> Iterator[Any]:
        if folded.stored is None or folded.stored.state is None:
            raise AssertionError("a profile without a state is never written; this is a bug")
        yield str(standing.version)
        yield str(-1 if standing.cutoff_ms is None else standing.cutoff_ms)
        yield folded.stored.state
        yield spec.model_revision
        yield str(self._idle_ttl_ms)
        for partition, offset in folded.stored.offsets.items():
            if offset != standing.offsets.get(partition):
                yield _offset_field(partition)
                yield str(offset)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Load the functions where needed, and name the fate of what Redis may answer."""
        with answering():
            try:
                if not self._library_loaded:
                    self._load_library()
                yield
            except redis.exceptions.ResponseError as error:
                if "Function not found" not in str(error):
                    raise
                self._library_loaded = False  # an emptied server; the next call loads it again
                raise Unavailable("Redis lost its functions; they are loaded again") from error

    def _load_library(self) -> None:
        source = (resources.files("pipeline.adapters") / "functions" / f"{LIBRARY}.lua").read_text("utf-8")
        try:
            self._client.function_load(source, replace=True)
        except redis.exceptions.ResponseError as error:
            if "unknown command" in str(error):
                raise ConfigurationError("this Redis has no functions", "use Redis 7.4 or later, or Valkey 9 or later") from error
            raise
        self._library_loaded = True


def _chunks(users: Iterable[tuple[str, list[Update]]]) -> Iterator[list[tuple[str, list[Update]]]]:
    remaining = iter(users)
    while chunk := list(islice(remaining, USERS_PER_PIPELINE)):
        yield chunk


def _offset_field(partition: TopicPartition) -> str:
    return f"o:{partition.topic}:{partition.partition}"


def _stored(row: Sequence[Any], partitions: Sequence[TopicPartition]) -> Stored:
    state, version, cutoff, *offsets = row
    applied = {p: int(offset) for p, offset in zip(partitions, offsets, strict=True) if offset is not None}
    return Stored(state, int(version or 0), applied, None if cutoff is None else int(cutoff))


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ConfigurationError("the Redis client must not decode answers; build it with pipeline.adapters.redis_store.connect")
    return value
