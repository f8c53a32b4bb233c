import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.batching import BatchLimits, TokenBatcher

LIMITS = BatchLimits(max_tokens=100, max_items=8, max_wait_ms=20.0)
lengths = st.lists(st.integers(0, 150), max_size=200)


def filled(tokens: list[int]) -> TokenBatcher[int]:
    batcher: TokenBatcher[int] = TokenBatcher(LIMITS)
    for index, count in enumerate(tokens):
        batcher.add(index, count)
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


@pytest.mark.parametrize(
    ("tokens", "waited_ms", "busy", "more"),
    [
        (0, 0.0, False, False),  # nothing to wait with
        (99, 19.0, False, True),
        (99, 20.0, False, False),  # the oldest has waited
        (100, 0.0, False, False),  # a full budget
        (0, 500.0, True, True),
        (799, 500.0, True, True),
        (800, 0.0, True, False),  # as much as is worth looking ahead
    ],
)
def test_an_idle_device_waits_for_a_full_budget_or_the_oldest_text(tokens: int, waited_ms: float, busy: bool, more: bool) -> None:
    assert LIMITS.wants_more(tokens, waited_ms, busy) is more


def test_fill_counts_padding() -> None:
    (batch,) = filled([40, 30]).flush()
    assert (batch.tokens, batch.padding, batch.fill(LIMITS)) == (70, 10, 0.8)


def test_a_negative_number_of_tokens_is_an_error() -> None:
    with pytest.raises(ValueError, match="tokens = -1"):
        TokenBatcher[str](LIMITS).add("a", -1)
