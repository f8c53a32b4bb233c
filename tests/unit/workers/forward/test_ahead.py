from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from workers.encoder import Encodings, TokenIds
from workers.fake_encoder import FakeEncoder
from workers.forward import ahead


class Noting(FakeEncoder):
    """Begins with batches, and notes what happens when."""

    at_once = 12

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, int]] = []

    def start(self, tokens: Sequence[TokenIds]) -> Callable[[], Encodings]:
        number = sum(kind == "begun" for kind, _ in self.events)
        self.events.append(("begun", number))

        def wait() -> Encodings:
            self.events.append(("waited for", number))
            return self.encode(tokens)

        return wait


def test_a_batch_is_begun_before_anybody_waits_for_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "TEXTS", 3)
    encoder, texts = Noting(), [f"text number {place}" for place in range(14)]
    batches = list(ahead.answered(encoder, texts))
    assert encoder.events[:4] == [("begun", 0), ("begun", 1), ("waited for", 0), ("begun", 2)]
    assert all(sum(map(len, batch)) <= encoder.at_once for batch, _ in batches[:-1])
    vectors = np.concatenate([answers.vectors for _, answers in batches])
    assert (vectors == encoder.encode(encoder.tokenize(texts)).vectors).all()


def test_an_encoder_that_cannot_begin_is_asked_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "TOKENS", 6)
    encoder, texts = FakeEncoder(), [f"text number {place}" for place in range(9)]
    found = np.concatenate([answers.vectors for _, answers in ahead.answered(encoder, texts)])
    assert (found == encoder.encode(encoder.tokenize(texts)).vectors).all()


def test_what_fails_fails_in_its_turn() -> None:
    def failing() -> int:
        raise ArithmeticError("2")

    def begun() -> Iterator[Callable[[], int]]:
        yield lambda: 1
        yield failing

    answers = ahead.in_flight(begun(), 1)
    assert next(answers) == 1
    with pytest.raises(ArithmeticError, match="2"):
        next(answers)
