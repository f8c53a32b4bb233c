"""Measure an encoder on labelled files: sentiment, and intents with or without a head fitted first."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from pipeline.adapters.json_lines import read_objects, text_field
from pipeline.core.text import readable
from pipeline.errors import ConfigurationError
from workers.encoder import SENTIMENTS, Encoder, Encodings, TokenIds
from workers.evaluation.labelled import Labelled, read_labelled
from workers.evaluation.metrics import Floats, Scores, auroc, score, without_class
from workers.forward import ahead
from workers.model import intents
from workers.model.ngrams import of_tokens

NEUTRAL: Final = SENTIMENTS.index("neutral")
OOS_RECALL: Final = 0.85
_LENGTHS: Final = ((0, 16), (17, 32), (33, 64), (65, 512))
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers for the texts of a file, in its order, the token ids of each, and the seconds they took."""

    answers: Encodings
    ids: list[TokenIds]
    seconds: float

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """Return the number of tokens of each text."""
        return np.array([len(one) for one in self.ids], dtype=np.int64)

    @property
    def texts_per_s(self) -> float:
        """Return the rate, tokenising included."""
        return len(self.ids) / max(self.seconds, 1e-9)


def answer(encoder: Encoder, texts: Sequence[str], advance: Advance) -> Measured:
    """Return the answers for normal forms; ``advance`` hears how many texts are done."""
    if not texts:
        raise ConfigurationError("no text to encode")
    started = time.perf_counter()
    parts: list[Encodings] = []
    ids: list[TokenIds] = []
    for batch, part in ahead.answered(encoder, texts):
        ids += batch
        parts.append(part)
        advance(len(batch))
    answers = Encodings(
        vectors=np.concatenate([part.vectors for part in parts]),
        sentiment=np.concatenate([part.sentiment for part in parts]),
        intents=np.concatenate([part.intents for part in parts]),
        intent_names=parts[0].intent_names,
    )
    return Measured(answers, ids, time.perf_counter() - started)


def sentiment(encoder: Encoder, path: Path, advance: Advance) -> tuple[dict[str, Any], Scores]:
    """Return the report on one file of sentiment rows, and its scores.

    A file without neutral rows is scored with the neutral class ruled out; the report says so under ``neutral_masked``.
    """
    rows = read_labelled(path, SENTIMENTS)
    measured = answer(encoder, rows.texts, advance)
    truth = np.array([SENTIMENTS.index(label) for label in rows.labels])
    masked = NEUTRAL not in truth
    probabilities = without_class(measured.answers.sentiment, NEUTRAL) if masked else measured.answers.sentiment
    scores = score(probabilities, truth)
    report = _report(path, rows, scores, SENTIMENTS, measured) | {"neutral_masked": masked}
    return report | _slices(probabilities, truth, rows, measured), scores


def intent(
    encoder: Encoder, path: Path, head: intents.IntentHead | None, unasked: Measured | None, advance: Advance
) -> tuple[dict[str, Any], Scores, tuple[str, ...]]:
    """Return the report on one file of intent rows, its scores, and the names of the classes.

    Without a head of ``fitted`` the encoder's own intents count. With answers for texts of ``read_unasked`` the report has
    ``auroc``, and ``oos_recall`` and ``in_scope_accuracy`` at the threshold that finds 85 % of the out-of-scope rows (an
    in-scope text that is turned away counts as wrong), and the same at the head's own calibrated threshold.
    """
    known = head.names[:-1] if head else tuple(name for name in _own_names(encoder) if name != intents.NONE)
    rows = read_labelled(path, known)
    measured = answer(encoder, rows.texts, advance)
    probabilities = _intent_probabilities(measured, head)
    truth = np.array([known.index(label) for label in rows.labels])
    inside = 1 - probabilities[:, -1]
    scores = score(_among_known(probabilities), truth)
    report = _report(path, rows, scores, known, measured) | _slices(_among_known(probabilities), truth, rows, measured)
    if unasked is not None:
        outside = _intent_probabilities(unasked, head)[:, -1]
        right = _among_known(probabilities).argmax(1) == truth
        report |= _out_of_scope(inside, 1 - outside, right)
    return report, scores, known


def fitted(encoder: Encoder, train: Path, tests: Sequence[Path], advance: Advance) -> intents.IntentHead:
    """Return the head for the labelled rows of ``train`` and the names of their labels; ``none`` marks texts without an intent.

    Raises ConfigurationError, before anything is computed, for what is wrong in ``train``, and for a label of ``tests`` that
    it lacks.
    """
    rows = read_labelled(train)
    names = intents.names_of(rows.labels, train.name)
    for path in tests:
        read_labelled(path, names)
    texts, labels = intents.with_names(rows.texts, rows.labels)
    measured = answer(encoder, texts, advance)
    torch.set_num_threads(1)
    return intents.fit(torch.from_numpy(measured.answers.vectors), of_tokens(measured.ids), labels)


def _own_names(encoder: Encoder) -> tuple[str, ...]:
    return encoder.encode(encoder.tokenize(["names"])).intent_names


def _intent_probabilities(measured: Measured, head: intents.IntentHead | None) -> Floats:
    if head is None:
        return measured.answers.intents
    with torch.inference_mode():
        told = head.told(of_tokens(measured.ids))
        return np.asarray(head(torch.from_numpy(measured.answers.vectors), told).numpy())


def _among_known(probabilities: Floats) -> Floats:
    known = probabilities[:, :-1].astype(np.float64) + 1e-12
    return np.asarray(known / known.sum(axis=1, keepdims=True))


def read_unasked(path: Path) -> list[str]:
    """Return the out-of-scope texts of a file, as an encoder reads them. Raises ConfigurationError for a row without one."""
    texts = [readable(text_field(row, "text", where)) for where, row in read_objects(path)]
    if not texts:
        raise ConfigurationError(f'{path}: no out-of-scope row; each line is {{"text": …}}')
    return texts


def _out_of_scope(inside: Floats, outside: Floats, right: npt.NDArray[np.bool_]) -> dict[str, float]:
    threshold = float(np.quantile(outside, OOS_RECALL, method="higher"))
    kept = inside > threshold
    return {
        "auroc": auroc(inside, outside),
        "oos_n": len(outside),
        "oos_recall": float((outside <= threshold).mean()),
        "in_scope_accuracy": float((kept & right).mean()),
        "threshold": threshold,
        "oos_recall_calibrated": float((outside < 0.5).mean()),
        "in_scope_accuracy_calibrated": float(((inside >= 0.5) & right).mean()),
    }


def _report(path: Path, rows: Labelled, scores: Scores, names: Sequence[str], measured: Measured) -> dict[str, Any]:
    return {
        "file": path.name,
        "n": scores.n,
        "left_out": rows.left_out,
        "accuracy": scores.accuracy,
        "macro_precision": scores.macro_precision,
        "macro_recall": scores.macro_recall,
        "macro_f1": scores.macro_f1,
        "ece": scores.ece,
        "texts_per_s": measured.texts_per_s,
        "classes": list(names),
        "confusion": scores.confusion.tolist(),
    }


def _slices(probabilities: Floats, truth: npt.NDArray[np.int64], rows: Labelled, measured: Measured) -> dict[str, Any]:
    language = np.array([_language(text) for text in rows.texts])
    by_language = {name: _accuracy(probabilities, truth, language == name) for name in sorted(set(language.tolist()))}
    by_length = {
        f"{low}-{high}": _accuracy(probabilities, truth, (measured.tokens >= low) & (measured.tokens <= high))
        for low, high in _LENGTHS
        if ((measured.tokens >= low) & (measured.tokens <= high)).any()
    }
    return {"by_language": by_language, "by_tokens": by_length}


def _accuracy(probabilities: Floats, truth: npt.NDArray[np.int64], where: npt.NDArray[np.bool_]) -> dict[str, float]:
    found = score(probabilities[where], truth[where])
    return {"n": found.n, "accuracy": found.accuracy, "macro_f1": found.macro_f1}


def _language(text: str) -> str:
    """Return zh for a text of which a fifth are ideographs, en where most letters are English ones, or other."""
    if 5 * sum("\u3400" <= char <= "\u9fff" for char in text) > len(text):
        return "zh"
    letters = [char for char in text if char.isalpha()]
    return "en" if 2 * sum(char.isascii() for char in letters) > len(letters) else "other"
