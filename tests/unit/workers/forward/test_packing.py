import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workers.forward.packing import LENGTH_MULTIPLE, ROW_MULTIPLE, pack, padding_ratio, round_up

lengths_of_texts = st.lists(st.integers(1, 130), max_size=60)


def texts(lengths: list[int]) -> list[np.ndarray]:
    return [np.arange(index * 1000, index * 1000 + length, dtype=np.int32) for index, length in enumerate(lengths)]


@given(lengths_of_texts, st.integers(16, 600))
def test_every_text_lies_whole_in_one_bin_and_is_found_through_its_group(lengths: list[int], rows: int) -> None:
    tokens = texts(lengths)
    found = {}
    for packed in pack(tokens, rows):
        assert packed.tokens <= max(rows, len(packed.groups[0].members) and max(lengths))
        for group in packed.groups:
            for member, at in zip(group.members, group.rows, strict=True):
                own = at[at >= 0]
                assert np.array_equal(packed.positions[own], np.arange(len(own)))
                found[int(member)] = packed.ids[own]
    assert sorted(found) == list(range(len(tokens)))
    assert all(np.array_equal(found[index], ids) for index, ids in enumerate(tokens))


@given(lengths_of_texts)
def test_a_bucket_depends_on_the_texts_own_length_alone(lengths: list[int]) -> None:
    for packed in pack(texts(lengths), 256):
        assert len(packed.ids) % ROW_MULTIPLE == 0
        for group in packed.groups:
            for member in group.members:
                assert group.rows.shape[1] == round_up(lengths[member], LENGTH_MULTIPLE)


def test_padding_counts_the_filling_rows() -> None:
    assert padding_ratio(pack(texts([10, 10]), 512)) == 1 - 20 / 32
    assert padding_ratio([]) == 0.0


def test_short_posts_are_packed_with_little_filling() -> None:
    lengths = np.random.default_rng(1).integers(8, 60, 200).tolist()
    assert padding_ratio(pack(texts(lengths), 512)) < 0.05
