import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.batching import BatchLimits, TokenBatcher

LIMITS = BatchLimits(max_tokens=100, max_items=8, max_wait_ms=20)
lengths = st.lists(st.integers(0, 150), max_size=200)


def filled(tokens: list[int]) -> TokenBatcher[int]:
    batcher: TokenBatcher[int] = TokenBatcher(LIMITS)
    for index, count in enumerate(tokens):
        batcher.add(index, count, now_ms=0)
    return batcher


@given(lengths)
def test_every_value_is_in_exactly_one_batch(tokens: list[int]) -> None:
    batches = filled(tokens).flush()
    assert sorted(value for batch in batches for value in batch.values) == list(range(len(tokens)))
    assert sum(batch.tokens for batch in batches) == sum(tokens)


@given(lengths)
def test_no_batch_exceeds_its_limits_unless_one_text_does(tokens: list[int]) -> None:
    for batch in filled(tokens).flush():
        assert len(batch.values) <= LIMITS.max_items
        assert batch.tokens + batch.padding <= LIMITS.max_tokens or len(batch.values) == 1
        longest = max(tokens[value] for value in batch.values)
        assert batch.tokens + batch.padding == longest * len(batch.values)


@given(lengths)
def test_texts_of_like_length_go_together(tokens: list[int]) -> None:
    order = [tokens[value] for batch in filled(tokens).flush() for value in batch.values]
    assert order == sorted(tokens, reverse=True)


def test_sorting_leaves_less_padding_than_the_order_of_arrival() -> None:
    tokens = [10, 50] * 40
    sorted_padding = sum(batch.padding for batch in filled(tokens).flush())
    unsorted = [filled(tokens[i : i + 2]).flush() for i in range(0, len(tokens), 2)]
    assert sorted_padding < sum(batch.padding for batches in unsorted for batch in batches)


def test_nothing_leaves_before_the_look_ahead_is_full_or_the_oldest_has_waited() -> None:
    batcher: TokenBatcher[str] = TokenBatcher(LIMITS, look_ahead=2)
    assert batcher.poll(now_ms=1_000) == []
    batcher.add("a", 90, now_ms=0)
    assert batcher.poll(now_ms=19) == []
    assert [batch.values for batch in batcher.poll(now_ms=20)] == [("a",)]
    batcher.add("b", 120, now_ms=30)
    assert batcher.poll(now_ms=31) == []
    batcher.add("c", 80, now_ms=31)
    assert [batch.values for batch in batcher.poll(now_ms=31)] == [("b",), ("c",)]
    assert batcher.flush() == []


def test_fill_counts_padding() -> None:
    (batch,) = filled([40, 30]).flush()
    assert (batch.tokens, batch.padding, batch.fill(LIMITS)) == (70, 10, 0.8)


def test_a_negative_number_of_tokens_is_an_error() -> None:
    with pytest.raises(ValueError, match="tokens = -1"):
        TokenBatcher[str](LIMITS).add("a", -1, now_ms=0)
