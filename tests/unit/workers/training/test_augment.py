import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.text import normalise
from workers.training.augment import Chances, altered

ALL = Chances(casing=0.5, punctuation=0.5, words=0.3, characters=0.1)


def changed(text: str, chances: Chances, seed: int = 0) -> str:
    return altered(text, chances, np.random.default_rng(seed))


@given(st.text(max_size=60).map(normalise), st.integers(0, 1_000))
def test_what_is_left_is_a_normal_form_and_the_same_for_the_same_seed(text: str, seed: int) -> None:
    found = changed(text, ALL, seed)
    assert found == changed(text, ALL, seed)
    assert bool(found) == bool(text)
    assert normalise(found) == found


def test_punctuation_goes_and_what_carries_meaning_stays() -> None:
    found = changed("@user: $AAPL is up 3%, #great!", Chances(casing=0, punctuation=1, words=0, characters=0))
    assert found == "@user $AAPL is up 3 #great"


def test_capitals_go_or_take_over() -> None:
    found = {changed("Buy Now", Chances(casing=1, punctuation=0, words=0, characters=0), seed) for seed in range(20)}
    assert found == {"buy now", "BUY NOW"}


def test_words_and_characters_are_dropped_at_their_rates() -> None:
    words = changed(" ".join(["w"] * 1_000), Chances(casing=0, punctuation=0, words=0.1, characters=0))
    assert 850 < len(words.split()) < 950
    characters = changed("涨" * 1_000, Chances(casing=0, punctuation=0, words=0, characters=0.1))
    assert 850 < len(characters) < 950


def test_nothing_is_changed_without_a_chance() -> None:
    assert changed("As it was, 真的!", Chances(casing=0, punctuation=0, words=0, characters=0)) == "As it was, 真的!"
