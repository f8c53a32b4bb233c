"""One suite, every profile store."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from pipeline.adapters.redis_store import RedisProfileStore, connect, user_key
from pipeline.adapters.stores import Applied, MemoryProfileStore, Outcomes, ProfileSpec, ProfileStore, Progress, Update
from pipeline.adapters.streams import TopicPartition
from pipeline.core.profile_bytes import VERSION, encode
from pipeline.core.rolling import ProfileEvent, add, new_profile
from pipeline.errors import ConfigurationError, StateVersionError, Unavailable

START = 1_400_000_000_000
DAY = 86_400_000
SPEC = ProfileSpec("r1", 8, (7 * DAY, 90 * DAY))
EVENTS = TopicPartition("events", 0)
POSTS = TopicPartition("posts", 1)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
def store(request: pytest.FixtureRequest) -> Iterator[ProfileStore]:
    if request.param == "memory":
        yield MemoryProfileStore()
        return
    redis_store = RedisProfileStore(connect(request.getfixturevalue("redis_url")), request.getfixturevalue("key_prefix"))
    yield redis_store
    redis_store.close()


def event(number: int, with_text: bool = True) -> ProfileEvent:
    vector = np.random.default_rng(number).standard_normal(8)
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    return ProfileEvent(f"e{number}", START + number * DAY, "view", 1.0, unit if with_text else None, f"i{number}")


def update(number: int, user_id: str = "u1", partition: TopicPartition = EVENTS, offset: int | None = None) -> Update:
    return Update(user_id, partition, number if offset is None else offset, event(number))


def expected(*numbers: int) -> bytes:
    profile = new_profile(SPEC.model_revision, SPEC.dimensions, SPEC.half_lives_ms)
    for number in numbers:
        add(profile, event(number))
    return encode(profile)


def bytes_of(store: ProfileStore, user_id: str = "u1") -> bytes:
    profile = store.get(user_id)
    assert profile is not None
    return encode(profile)


def test_a_user_never_seen_has_no_profile(store: ProfileStore) -> None:
    assert store.get("nobody") is None
    assert store.forget("nobody", START) is False


def test_updates_of_many_users_are_folded(store: ProfileStore) -> None:
    applied = store.apply([update(n, f"u{n % 700}", offset=n) for n in range(1_400)], SPEC)
    assert applied == Applied(applied=1_400)
    assert bytes_of(store, "u3") == expected(3, 703)
    assert bytes_of(store, "u699") == expected(699, 1_399)


def test_redelivery_changes_nothing(store: ProfileStore) -> None:
    batch = [update(n) for n in range(10)]
    store.apply(batch[:6], SPEC)
    assert store.apply(batch[:4], SPEC) == Applied(fenced=4)
    assert store.apply(batch, SPEC) == Applied(applied=4, fenced=6)
    assert bytes_of(store) == expected(*range(10))


def test_what_stands_twice_in_one_batch_is_applied_once(store: ProfileStore) -> None:
    batch = [update(n) for n in range(5)]
    assert store.apply([*batch, *batch], SPEC) == Applied(applied=5, fenced=5)


def test_each_partition_has_a_fence_of_its_own(store: ProfileStore) -> None:
    store.apply([update(1, offset=100)], SPEC)
    assert store.apply([update(2, partition=POSTS, offset=5)], SPEC) == Applied(applied=1)
    assert store.apply([update(3, offset=100), update(2, partition=POSTS, offset=5)], SPEC) == Applied(fenced=2)
    assert bytes_of(store) == expected(1, 2)


def test_a_duplicate_id_at_a_new_offset_counts_once(store: ProfileStore) -> None:
    store.apply([update(1, offset=1)], SPEC)
    assert store.apply([update(1, offset=2), update(1, offset=3)], SPEC) == Applied(duplicates=2)
    assert bytes_of(store) == expected(1)


def test_an_empty_batch_is_nothing(store: ProfileStore) -> None:
    assert store.apply([], SPEC) == Applied()
    store.advance({})


def test_forgetting_removes_the_profile_and_a_replay_does_not_bring_it_back(store: ProfileStore) -> None:
    batch = [update(n) for n in range(5)]
    store.apply(batch, SPEC)
    now_ms = START + 10 * DAY
    assert store.forget("u1", now_ms) is True
    assert store.get("u1") is None
    assert store.apply(batch, SPEC) == Applied(forgotten=5)
    assert store.get("u1") is None
    assert store.apply([update(10, offset=20), update(11, offset=21)], SPEC) == Applied(applied=1, forgotten=1)
    assert bytes_of(store) == expected(11)


def put_state(store: ProfileStore, user_id: str, state: bytes) -> None:
    """Set what no store writes."""
    if isinstance(store, RedisProfileStore):
        store._client.hset(user_key(store._prefix, user_id), "s", state)
    elif isinstance(store, MemoryProfileStore):
        store._users[user_id] = replace(store._users[user_id], state=state)


@pytest.mark.parametrize("state", [b"", expected(1)[:-3], (VERSION + 1).to_bytes(2, "little") + expected(1)[2:]])
def test_a_profile_that_cannot_be_read_is_named_and_can_be_forgotten(store: ProfileStore, state: bytes) -> None:
    store.apply([update(1)], SPEC)
    put_state(store, "u1", state)
    for use in (lambda: store.get("u1"), lambda: store.apply([update(2)], SPEC)):
        with pytest.raises(StateVersionError, match=r"^user 'u1': profile state "):
            use()
    now_ms = START + 2 * DAY
    assert store.forget("u1", now_ms) is True
    assert store.get("u1") is None
    assert store.apply([update(1), update(2), update(3)], SPEC) == Applied(applied=1, forgotten=2)
    assert bytes_of(store) == expected(3)


def test_the_cutoff_reaches_to_the_users_last_event_and_never_goes_back(store: ProfileStore) -> None:
    store.apply([update(5)], SPEC)
    store.forget("u1", START)
    assert store.apply([update(5, offset=9)], SPEC) == Applied(forgotten=1)
    store.forget("u1", START - DAY)
    assert store.apply([update(5, offset=9)], SPEC) == Applied(forgotten=1)
    assert store.apply([update(6, offset=10)], SPEC) == Applied(applied=1)


def test_another_model_revision_is_an_error_or_a_clean_restart(store: ProfileStore) -> None:
    store.apply([update(1)], SPEC)
    new = replace(SPEC, model_revision="r2")
    with pytest.raises(ConfigurationError, match=r"'r1', not 'r2'.*--restart-profiles"):
        store.apply([update(2)], new)
    assert bytes_of(store) == expected(1)
    store.apply([update(2)], replace(new, restart=True))
    profile = store.get("u1")
    assert profile is not None
    assert (profile.model_revision, profile.events) == ("r2", 1)


def test_other_half_lives_are_an_error_or_a_clean_restart(store: ProfileStore) -> None:
    store.apply([update(1)], SPEC)
    new = replace(SPEC, half_lives_ms=(30 * DAY, 365 * DAY))
    with pytest.raises(ConfigurationError, match=r"half-lives of \[.*\] days, not \[30\.0, 365\.0\].*--restart-profiles"):
        store.apply([update(2)], new)
    assert bytes_of(store) == expected(1)
    store.apply([update(2)], replace(new, restart=True))
    profile = store.get("u1")
    assert profile is not None
    assert ([family.half_life_ms for family in profile.families], profile.events) == ([30 * DAY, 365 * DAY], 1)


def test_progress_goes_only_forward_and_counts_each_record_once(store: ProfileStore) -> None:
    assert store.progress([EVENTS, POSTS]) == {}
    store.advance({EVENTS: Outcomes(10, [0, 1, 2, 4, 5, 6, 7, 8, 9], [3])})
    store.advance({EVENTS: Outcomes(8, [6], [7])})
    assert store.progress([EVENTS, POSTS]) == {EVENTS: Progress(10, 9, 1)}
    store.advance({EVENTS: Outcomes(12, [8, 9, 10], [11]), POSTS: Outcomes(1, [0], [])})
    assert store.progress([EVENTS, POSTS]) == {EVENTS: Progress(12, 10, 2), POSTS: Progress(1, 1, 0)}


def test_several_writers_of_the_same_users_lose_nothing(store: ProfileStore) -> None:
    def write(partition: int) -> None:
        for start in range(0, 60, 5):
            numbers = range(partition * 100 + start, partition * 100 + start + 5)
            store.apply([update(n, f"u{n % 2}", TopicPartition("posts", partition)) for n in numbers], SPEC)

    in_threads(write, 3)
    numbers = [partition * 100 + n for partition in range(3) for n in range(60)]
    assert bytes_of(store, "u0") == expected(*(n for n in numbers if n % 2 == 0))
    assert bytes_of(store, "u1") == expected(*(n for n in numbers if n % 2 == 1))


def test_a_forgotten_user_stays_forgotten_under_concurrent_writers(store: ProfileStore) -> None:
    def write(partition: int) -> None:
        if partition == 0:
            store.forget("u1", START + 1_000 * DAY)
            return
        for n in range(40):
            store.apply([update(n, partition=TopicPartition("posts", partition))], SPEC)

    in_threads(write, 3)
    assert store.get("u1") is None


def in_threads(work: Callable[[int], None], count: int) -> None:
    failures: list[BaseException] = []

    def run(index: int) -> None:
        try:
            work(index)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.integration
def test_redis_keeps_nothing_but_the_cutoff_of_a_forgotten_user(redis_url: str, key_prefix: str) -> None:
    client = connect(redis_url)
    store = RedisProfileStore(client, key_prefix)
    store.apply([update(1), update(2, partition=POSTS)], SPEC)
    key = user_key(key_prefix, "u1")
    assert sorted(client.hkeys(key)) == [b"o:events:0", b"o:posts:1", b"r", b"s", b"v"]
    assert client.pttl(key) > 390 * DAY
    store.forget("u1", START + 9 * DAY)
    assert client.hgetall(key) == {b"c": str(START + 9 * DAY).encode()}
    assert list(client.scan_iter(match=f"{key_prefix}*")) == [key.encode()]
    assert client.pttl(key) == -1


@pytest.mark.integration
def test_redis_keeps_the_cutoff_when_the_later_profile_expires(redis_url: str, key_prefix: str) -> None:
    client = connect(redis_url)
    store = RedisProfileStore(client, key_prefix)
    store.forget("u1", START)
    store.apply([update(1)], SPEC)
    key = user_key(key_prefix, "u1")
    cutoff_ttl, state_ttl = client.hpttl(key, "c", "s")
    assert cutoff_ttl == -1
    assert state_ttl > 390 * DAY


@pytest.mark.integration
def test_redis_that_lost_its_functions_gets_them_again(redis_url: str, key_prefix: str) -> None:
    client = connect(redis_url)
    store = RedisProfileStore(client, key_prefix)
    store.apply([update(1)], SPEC)
    client.function_delete("groundswell_v1")
    with pytest.raises(Unavailable, match="functions"):
        store.apply([update(2)], SPEC)
    assert store.apply([update(2)], SPEC) == Applied(applied=1)


def test_redis_that_does_not_answer_is_unavailable(unused_port: int) -> None:
    store = RedisProfileStore(connect(f"redis://127.0.0.1:{unused_port}/0"), "x:")
    with pytest.raises(Unavailable, match="Redis does not answer"):
        store.apply([update(1)], SPEC)
    with pytest.raises(Unavailable):
        store.get("u1")
