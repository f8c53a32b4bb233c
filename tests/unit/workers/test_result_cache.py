import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.result_cache import OVERHEAD_BYTES, Answer, ResultCache

ENTRY = OVERHEAD_BYTES + 4 * (384 + 3 + 2)


def answer(seed: int) -> Answer:
    numbers = np.random.default_rng(seed).random(389).astype(np.float32)
    return Answer(numbers[:384], numbers[384:387], numbers[387:])


def test_an_answer_is_found_by_text_and_revision() -> None:
    cache = ResultCache(10 * ENTRY, "r1")
    cache.put(cache.key("hello"), answer(1))
    found = cache.get(cache.key("hello"))
    assert found is not None
    assert (found.vector == answer(1).vector).all()
    assert cache.get(cache.key("hallo")) is None
    assert cache.get(ResultCache(0, "r2").key("hello")) is None


def test_the_least_recently_used_answers_go_first() -> None:
    cache = ResultCache(3 * ENTRY, "r1")
    for text in "abc":
        cache.put(cache.key(text), answer(1))
    cache.get(cache.key("a"))
    cache.put(cache.key("d"), answer(2))
    assert [cache.get(cache.key(text)) is not None for text in "abcd"] == [True, False, True, True]


@given(st.lists(st.integers(0, 20)), st.integers(0, 5))
def test_the_bound_in_bytes_holds(texts: list[int], room: int) -> None:
    cache = ResultCache(room * ENTRY, "r1")
    for number in texts:
        cache.put(cache.key(str(number)), answer(number))
        assert cache.bytes == len(cache) * ENTRY
    assert len(cache) == min(room, len(set(texts)))


def test_a_cache_without_room_keeps_nothing() -> None:
    cache = ResultCache(0, "r1")
    cache.put(cache.key("a"), answer(1))
    assert len(cache) == 0
