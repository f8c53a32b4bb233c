from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import STATE_VERSION, EntityState, decode, encode
from pipeline.jobs.trends import Snapshot, TrendHost, make_host
from tests.unit.core.old_states import as_version_1, document_of, encoded_as_version_2, written_as_version_2
from tests.unit.core.streams import eventful

CONFIG = DetectorConfig()
POSTS = eventful()


@cache
def states() -> dict[str, bytes]:
    host = make_host(CONFIG)
    for post in POSTS:
        host.on_post(post)
    return host.snapshot().states


def told_after(host: TrendHost[EntityState], first: int) -> tuple[list[bytes], Snapshot]:
    """Return what the host tells of the posts from this one on, and of the end, and what it knows just before the end.

    But for what version 2 did not know: how much members of a market remember, and when it is looked who went silent.
    """
    steps = [*host.on_posts(POSTS[first:])]
    known = host.snapshot()._replace(timers=[], groups={})
    return [record.to_json() for step in [*steps, host.finish()] for record in (*step.trends, *step.alerts)], known


def test_decoding_and_encoding_again_gives_the_same_bytes() -> None:
    for encoded in states().values():
        assert encode(decode(encoded, CONFIG)) == encoded


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(st.sets(st.integers(0, len(POSTS) - 1), max_size=5))
def test_a_restart_at_any_moment_changes_nothing_that_is_told_or_known(restarts: set[int]) -> None:
    plain, restarted = make_host(CONFIG), make_host(CONFIG)
    for number, post in enumerate(POSTS):
        if number in restarts:
            before, restarted = restarted.snapshot(), make_host(CONFIG)
            restarted.restore(before)
        assert restarted.on_post(post) == plain.on_post(post)
    assert restarted.snapshot() == plain.snapshot()
    assert restarted.finish() == plain.finish()


def test_what_version_2_wrote_goes_on_as_if_nothing_had_happened() -> None:
    old = written_as_version_2()
    plain, restored = make_host(CONFIG), make_host(CONFIG)
    for post in POSTS[: old.posts]:
        plain.on_post(post)
    restored.restore(old.snapshot)
    assert {encoded[:2] for encoded in restored.snapshot().states.values()} == {STATE_VERSION.to_bytes(2, "big")}
    assert told_after(restored, old.posts) == told_after(plain, old.posts)


def test_version_2_can_still_be_written_for_tests() -> None:
    for encoded in written_as_version_2().snapshot.states.values():
        assert document_of(encoded_as_version_2(decode(encoded, CONFIG))) == document_of(encoded)


def test_a_state_of_version_1_is_migrated() -> None:
    """Version 1 did not know the entity's own rate of episodes."""
    for encoded in written_as_version_2().snapshot.states.values():
        state = decode(as_version_1(encoded), CONFIG)
        assert state.decided.own_rate is not None
        assert state.decided.own_rate.as_of_ms == state.decided.time_ms
        assert encode(state)[:2] == STATE_VERSION.to_bytes(2, "big")


def test_a_state_is_small() -> None:
    assert max(map(len, states().values())) < 64 * 1024
