"""Scores of a classifier from its probabilities: pure numpy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores over n texts; averages are over the classes present in the truth. ece is in 0 to 1.

    confusion: (k, k) counts, rows are the truth.
    """

    n: int
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    ece: float
    confusion: npt.NDArray[np.int64]


def score(probabilities: Floats, truth: Ints) -> Scores:
    """Return the scores of (n, k) probabilities against n class indices; n must be positive."""
    predicted = probabilities.argmax(axis=1)
    classes = probabilities.shape[1]
    confusion = np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    present = confusion.sum(axis=1) > 0
    hits = np.diag(confusion).astype(np.float64)
    recall = _ratio(hits, confusion.sum(axis=1))
    precision = _ratio(hits, confusion.sum(axis=0))
    f1 = _ratio(2 * hits, confusion.sum(axis=0) + confusion.sum(axis=1))
    return Scores(
        n=len(truth),
        accuracy=float(hits.sum() / len(truth)),
        macro_precision=float(precision[present].mean()),
        macro_recall=float(recall[present].mean()),
        macro_f1=float(f1[present].mean()),
        ece=calibration_error(probabilities.max(axis=1), predicted == truth),
        confusion=confusion,
    )


def calibration_error(confidence: Floats, correct: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error over 15 bins of equal width (Guo et al. 2017)."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, confidence, CALIBRATION_BINS) - np.bincount(bins, correct, CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def auroc(inside: Floats, outside: Floats) -> float:
    """Return the chance that a value of ``inside`` is above one of ``outside``, ties half (Mann-Whitney)."""
    ordered = np.sort(inside)
    below = np.searchsorted(ordered, outside, side="left")
    not_above = np.searchsorted(ordered, outside, side="right")
    return float(1 - (below + not_above).mean() / (2 * len(inside)))


def without_class(probabilities: Floats, index: int) -> Floats:
    """Return the probabilities with one class ruled out and the rest scaled to one."""
    kept = probabilities.astype(np.float64, copy=True)
    kept[:, index] = 0.0
    return np.asarray(kept / kept.sum(axis=1, keepdims=True))


def _ratio(above: npt.NDArray[np.float64], below: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
