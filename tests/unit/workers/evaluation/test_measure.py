import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.commands.evaluate import intent
from pipeline.errors import ConfigurationError
from workers.encoder import SENTIMENTS, Encodings, TokenIds
from workers.evaluation import measure
from workers.forward import ahead
from workers.model import transformer


class ByFirstWord:
    """Answers by the first character of a text: n, u or p for a sentiment; its code point for the vector."""

    model = "first-word"
    revision = "1"

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        return [np.array([ord(char) for char in text] or [0], dtype=np.int32) for text in texts]

    def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
        sentiment = np.full((len(tokens), 3), 0.1, np.float32)
        vectors = np.zeros((len(tokens), 384), np.float32)
        for row, ids in enumerate(tokens):
            sentiment[row, {"n": 0, "u": 1, "p": 2}.get(chr(ids[0]), 1)] = 0.8
            vectors[row, ids[0] % 384] = 1.0
        intents = np.tile(np.array([0.3, 0.3, 0.4], np.float32), (len(tokens), 1))
        return Encodings(vectors, sentiment, intents, ("ask", "buy", "none"))


class Unused(ByFirstWord):
    """Encodes nothing."""

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        raise AssertionError(f"encoded too early: {texts}")


def written(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("\n".join(json.dumps({"text": text, "label": label}) for text, label in rows), "utf-8")
    return path


def test_sentiment_reports_the_fields_others_rely_on(tmp_path: Path) -> None:
    rows = [("n one", "negative"), ("u two", "neutral"), ("p three", "positive"), ("p four", "negative")]
    report, scores = measure.sentiment(ByFirstWord(), written(tmp_path / "a.jsonl", rows), lambda _: None)
    assert {"n", "accuracy", "macro_precision", "macro_recall", "macro_f1", "ece", "texts_per_s"} <= set(report)
    assert (report["n"], report["accuracy"], report["neutral_masked"]) == (4, 0.75, False)
    assert scores.confusion.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 1]]
    assert json.loads(json.dumps(report)) == report


def test_a_file_of_two_classes_is_scored_without_neutral_and_says_so(tmp_path: Path) -> None:
    rows = [("u looks neutral", "positive"), ("n", "negative")]
    report, scores = measure.sentiment(ByFirstWord(), written(tmp_path / "a.jsonl", rows), lambda _: None)
    assert report["neutral_masked"]
    assert scores.confusion[:, SENTIMENTS.index("neutral")].sum() == 0


def test_slices_by_language_and_length_add_up(tmp_path: Path) -> None:
    rows = [
        ("p short", "positive"),
        ("跌了很多", "negative"),
        ("n " + "long " * 12, "negative"),
        ("рост", "positive"),
    ]
    report, _ = measure.sentiment(ByFirstWord(), written(tmp_path / "a.jsonl", rows), lambda _: None)
    assert {name: part["n"] for name, part in report["by_language"].items()} == {"en": 2, "zh": 1, "other": 1}
    assert sum(part["n"] for part in report["by_tokens"].values()) == 4


def test_answers_of_many_texts_come_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"{'np'[place % 2]} text {place}" for place in range(25)]
    whole = measure.answer(ByFirstWord(), texts, lambda _: None)
    monkeypatch.setattr(ahead, "TEXTS", 4)
    monkeypatch.setattr(ahead, "TOKENS", 20)
    done: list[int] = []
    by_some = measure.answer(ByFirstWord(), texts, done.append)
    assert sum(done) == 25
    assert (by_some.answers.sentiment == whole.answers.sentiment).all()
    assert [ids.tolist() for ids in by_some.ids] == [ids.tolist() for ids in whole.ids]


def test_rows_without_one_label_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "p", "label": "positive"}\n{"text": "n", "label": null}\n{"text": "n", "entities": {"A": "negative"}}\n'
    )
    report, _ = measure.sentiment(ByFirstWord(), path, lambda _: None)
    assert (report["n"], report["left_out"]) == (1, 2)


@pytest.mark.slow
def test_many_classes_are_told_in_a_matrix_too(tmp_path: Path) -> None:
    rows = [(f"{chr(97 + place // 2)} text {place}", f"class{place // 2:02}") for place in range(46)]
    path = written(tmp_path / "a.jsonl", rows)
    head = measure.fitted(ByFirstWord(), path, [path], lambda _: None)
    report, _, names = measure.intent(ByFirstWord(), path, head, None, lambda _: None)
    assert (len(names), len(report["confusion"])) == (23, 23)


@pytest.mark.slow
def test_a_head_is_fitted_first_and_out_of_scope_rows_are_ranked(tmp_path: Path) -> None:
    letters = {"a": "first", "b": "second", "c": "third", "d": "fourth", "e": "fifth"}
    train = [(f"{letter} {word}", label) for letter, label in letters.items() for word in range(10)]
    test = [(f"{letter} new {word}", label) for letter, label in letters.items() for word in range(4)]
    oos = [(f"{letter} x", "oos") for letter in "uvwxyz"]
    paths = [written(tmp_path / f"{name}.jsonl", rows) for name, rows in (("train", train), ("test", test), ("oos", oos))]
    head = measure.fitted(ByFirstWord(), paths[0], [paths[1]], lambda _: None)
    unasked = measure.answer(ByFirstWord(), measure.read_unasked(paths[2]), lambda _: None)
    report, _, names = measure.intent(ByFirstWord(), paths[1], head, unasked, lambda _: None)
    assert names == tuple(sorted(letters.values()))
    assert report["accuracy"] == 1.0
    assert report["auroc"] == 1.0
    assert report["oos_recall"] >= 0.85
    assert report["in_scope_accuracy"] == 1.0


def test_labels_that_the_head_does_not_know_are_named(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [("x", "ask"), ("y", "fly")])
    with pytest.raises(ConfigurationError, match=r"a\.jsonl line 2: label = 'fly'; use one of ask, buy"):
        measure.intent(ByFirstWord(), path, None, None, lambda _: None)


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ([("a", "x")] * 2 + [("b", "y")] * 2, [("c", "z")], r"test\.jsonl line 1: label = 'z'; use one of x, y"),
        ([("a", "x")] * 2 + [("b", "y")], [("a", "x")], r"train\.jsonl: y: one example; at least two"),
        ([("a", "x")] * 2, [("a", "x")], r"train\.jsonl: 1 intent; at least two"),
    ],
)
def test_a_head_that_could_not_be_judged_is_refused_before_anything_is_encoded(
    tmp_path: Path, train: list[tuple[str, str]], test: list[tuple[str, str]], said: str
) -> None:
    paths = [written(tmp_path / f"{name}.jsonl", rows) for name, rows in (("train", train), ("test", test))]
    with pytest.raises(ConfigurationError, match=said):
        measure.fitted(Unused(), paths[0], [paths[1]], lambda _: None)


def test_out_of_scope_rows_are_read_before_anything_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "load_encoder", lambda *_: Unused())
    train = written(tmp_path / "a.jsonl", [("x", "ask"), ("y", "ask"), ("z", "buy"), ("w", "buy")])
    (tmp_path / "oos.jsonl").touch()
    with pytest.raises(ConfigurationError, match=r"oos\.jsonl: no out-of-scope row"):
        intent([train], train=train, oos=tmp_path / "oos.jsonl")


def test_out_of_scope_rows_are_encoded_once_and_files_called_alike_have_a_picture_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoded: list[str] = []

    class Noting(ByFirstWord):
        def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
            encoded.extend(texts)
            return super().tokenize(texts)

    monkeypatch.setattr(transformer, "load_encoder", lambda *_: Noting())
    files = [tmp_path / name / "dev.jsonl" for name in "ab"] + [tmp_path / "dev-2.jsonl"]
    for path in files:
        path.parent.mkdir(exist_ok=True)
        written(path, [("x", "ask"), ("y", "buy")])
    intent(files, oos=written(tmp_path / "oos.jsonl", [("beyond", "oos")]), as_json=True, picture=tmp_path / "drawn")
    assert encoded.count("beyond") == 1
    assert [json.loads(line)["oos_n"] for line in capsys.readouterr().out.splitlines()] == [1, 1, 1]
    drawn = {path.name for path in (tmp_path / "drawn").iterdir()}
    assert drawn == {"dev.confusion.png", "dev-2.confusion.png", "dev-2-2.confusion.png"}
