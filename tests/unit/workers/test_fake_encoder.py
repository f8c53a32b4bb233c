import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.encoder import DIMENSIONS, SENTIMENTS, Vectors
from workers.fake_encoder import INTENTS, FakeEncoder

ENCODER = FakeEncoder()
ANOTHER = FakeEncoder()


def sentiment(text: str) -> str:
    (row,) = ENCODER.encode(ENCODER.tokenize([text])).sentiment
    return SENTIMENTS[int(row.argmax())]


@given(st.lists(st.text(max_size=40), min_size=1, max_size=6))
def test_an_answer_depends_on_its_text_alone_bit_for_bit(texts: list[str]) -> None:
    together = ENCODER.encode(ENCODER.tokenize(texts))
    for row, text in enumerate(texts):
        alone = ANOTHER.encode(ANOTHER.tokenize([text]))
        assert together.vectors[row].tobytes() == alone.vectors[0].tobytes()
        assert together.sentiment[row].tobytes() == alone.sentiment[0].tobytes()


@given(st.text(max_size=60))
def test_vectors_are_units_and_probabilities_sum_to_one(text: str) -> None:
    encodings = ENCODER.encode(ENCODER.tokenize([text]))
    assert encodings.vectors.shape == (1, DIMENSIONS)
    assert float(np.linalg.norm(encodings.vectors[0])) == pytest.approx(1.0, abs=1e-5)
    assert float(encodings.sentiment.sum()) == pytest.approx(1.0, abs=1e-5)
    assert encodings.intents.shape == (1, len(INTENTS))
    assert encodings.intent_names == INTENTS


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a terrible crash", "negative"),
        ("great profit, love it", "positive"),
        ("the sky is blue", "neutral"),
        ("股价暴跌", "negative"),
        ("业绩超预期大涨", "positive"),
        ("今天开会", "neutral"),
    ],
)
def test_polarity_words_of_both_languages_decide(text: str, expected: str) -> None:
    assert sentiment(text) == expected


def test_texts_that_share_words_are_nearer() -> None:
    vectors: Vectors = ENCODER.encode(ENCODER.tokenize(["red running shoes", "blue running shoes", "green tea"])).vectors
    assert float(vectors[0] @ vectors[1]) > 0.5 > float(vectors[0] @ vectors[2])


def test_no_texts_give_no_rows() -> None:
    encodings = ENCODER.encode([])
    assert (encodings.vectors.shape, encodings.sentiment.shape) == ((0, DIMENSIONS), (0, 3))
