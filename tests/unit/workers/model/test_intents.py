from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigurationError
from workers.model import intents
from workers.model.ngrams import of_tokens
from workers.model.shipped import Shipped
from workers.training.run import DEFAULT_INTENTS


def clusters(count: int, per_class: int, seed: int = 0) -> tuple[torch.Tensor, list[str]]:
    draw = torch.Generator().manual_seed(seed)
    centres = torch.eye(16)[:count].repeat_interleave(per_class, 0)
    vectors = torch.nn.functional.normalize(centres + 0.15 * torch.randn(centres.shape, generator=draw), dim=1)
    return vectors, [f"intent{index}" for index in range(count) for _ in range(per_class)]


def fitted(vectors: torch.Tensor, labels: list[str], words: list[int] | None = None) -> intents.IntentHead:
    """A head whose texts hold one telling word each, or nothing that tells."""
    tokens = [np.array([1, 5 if words is None else 10 + word], dtype=np.int32) for word in words or range(len(labels))]
    return intents.fit(vectors, of_tokens(tokens), labels)


@pytest.mark.slow
def test_words_help_where_the_vector_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intents, "MANY_TEXTS", 80)
    draw = torch.Generator().manual_seed(3)
    vectors = torch.nn.functional.normalize(torch.randn(80, 16, generator=draw), dim=1)
    labels = [f"intent{index % 4}" for index in range(80)]
    head = fitted(vectors, labels, [index % 4 for index in range(80)])
    told = head.told(of_tokens([np.array([1, 10 + word], dtype=np.int32) for word in range(4)]))
    assert head(vectors[:4], told)[:, :-1].argmax(1).tolist() == [0, 1, 2, 3]
    trained = Shipped(intents.tensors_of(head), {"intents": list(head.names)})
    loaded = intents.load_intents(trained)
    assert loaded.table is not None
    torch.testing.assert_close(loaded.table, head.table, atol=2e-3, rtol=2e-3)


@pytest.mark.slow
def test_words_that_tell_nothing_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intents, "MANY_TEXTS", 72)
    vectors, labels = clusters(6, 12)
    head = fitted(vectors, labels)
    assert head.table is None
    assert not head.told(of_tokens([np.array([1, 2], dtype=np.int32)])).any()


@pytest.mark.slow
def test_a_head_knows_its_intents_and_turns_the_rest_away() -> None:
    vectors, labels = clusters(6, 12)
    head = fitted(vectors, labels)
    fresh, truth = clusters(6, 20, seed=1)
    probabilities = head(fresh)
    assert head.names[-1] == intents.NONE
    assert [head.names[index] for index in probabilities[:, :-1].argmax(1)] == truth
    strangers = torch.nn.functional.normalize(torch.eye(16)[8:], dim=1)
    assert float(probabilities[:, -1].mean()) < 0.5 < float(head(strangers)[:, -1].mean())
    torch.testing.assert_close(probabilities.sum(1), torch.ones(120))


@pytest.mark.slow
def test_examples_of_no_intent_are_learned() -> None:
    vectors, labels = clusters(5, 12)
    head = fitted(vectors, [intents.NONE if label == "intent4" else label for label in labels])
    assert head.names == ("intent0", "intent1", "intent2", "intent3", "none")
    assert float(head(vectors)[-12:, -1].min()) > 0.5


@pytest.mark.slow
def test_fitting_twice_gives_the_same_head() -> None:
    vectors, labels = clusters(4, 8)
    first, second = fitted(vectors, labels), fitted(vectors, labels)
    torch.testing.assert_close(first.weight, second.weight, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(first.gate, second.gate, atol=1e-3, rtol=1e-3)


def test_the_name_of_an_intent_is_an_example_of_it() -> None:
    texts, labels = ["one", "two", "three", "four"], ["card_lost", "_17", "none", "查询余额"]
    assert intents.with_names(texts, labels) == ([*texts, "card lost", "查询余额"], [*labels, "card_lost", "查询余额"])


@pytest.mark.parametrize("labels", [["a", "a", "b"], ["a", "a", "a"], ["a", "a", "none"]])
def test_too_few_examples_are_refused(labels: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="at least two intents with two examples"):
        fitted(torch.eye(16)[:3], labels)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("intent: {}", "intent: the keys are intents and none"),
        ("[1]", "list"),
        ("intents: {a: [x, y]}", "at least two names"),
        ("intents: {a: [x, y], b: [z]}", "b: 1 example"),
        ("intents: {a: [x, y], b: [z, z]}", "'z' stands there twice"),
        ("intents: {a: [x, y], b: [x, z]}", "under both a and b"),
        ("intents: {a: [x, y], b: [z, ' ']}", "example 2 holds no text"),
        ("intents: {a: [x, y], b: text}", "list of example sentences"),
        ("intents: {a: [x, y], none: [z, w]}", "the name is taken"),
        ("intents: {a: [x", "cannot be read"),
        ("intents: {yes: [a, b], on: [c, d], b: [x, y]}", "a name that YAML reads as True; put it in quotes"),
        ("intents: {a: [x, y], off: [z, w]}", "a name that YAML reads as False"),
        ("intents: {a: [x, y], null: [z, w]}", "a name that YAML reads as None"),
        ("intents: {a: [x, y], 7: [z, w]}", "a name that YAML reads as 7"),
        ("intents: {a: [x, y], ' ': [z, w]}", "' ' is no name"),
        ('intents: {a: [x, y], "b\\ud800": [z, w]}', r"'b\\ud800' is no name"),
        ("intents: {a: [x, y], b: [z, w]}\nnone: 0", "none: give a list of example sentences"),
        ("intents: {a: [x, y], b: [z, w]}\nnone: ''", "none: give a list of example sentences"),
    ],
)
def test_a_wrong_file_is_refused_with_what_to_mend(tmp_path: Path, document: str, said: str) -> None:
    path = tmp_path / "intents.yaml"
    path.write_text(document, "utf-8")
    with pytest.raises(ConfigurationError, match=said):
        intents.read_intents(path)


def test_a_name_in_quotes_stays_what_it_is_and_none_may_be_left_empty(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("intents: {'yes': [a, b], 'no': [c, d]}\nnone:\n", "utf-8")
    found = intents.read_intents(tmp_path / "a.yaml")
    assert (list(found.examples), found.none) == (["yes", "no"], ())


def test_the_default_intents_have_forty_examples_in_two_languages() -> None:
    found = intents.read_intents(DEFAULT_INTENTS)
    for name, texts in found.examples.items():
        chinese = sum(any("\u4e00" <= char <= "\u9fff" for char in text) for text in texts)
        assert (chinese, len(texts) - chinese) == (20, 20), name
    assert len(found.none) >= 40
