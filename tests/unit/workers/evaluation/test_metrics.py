import numpy as np
import pytest

from workers.evaluation.metrics import auroc, calibration_error, score, without_class


def test_scores_of_a_small_table_worked_by_hand() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.3, 0.4, 0.3]])
    found = score(probabilities, np.array([0, 1, 1, 1]))
    assert found.confusion.tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert found.accuracy == 0.75
    assert found.macro_recall == pytest.approx((1 + 2 / 3) / 2)
    assert found.macro_precision == pytest.approx((1 / 2 + 1) / 2)
    assert found.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found.ece == pytest.approx((0.2 + 0.6 + 0.3 + 0.6) / 4)


def test_calibration_error_is_nought_when_confidence_is_the_hit_rate() -> None:
    assert calibration_error(np.full(4, 0.75), np.array([True, True, True, False])) == pytest.approx(0)
    assert calibration_error(np.ones(4), np.array([True, True, False, False])) == pytest.approx(0.5)


def test_auroc_counts_pairs_and_halves_ties() -> None:
    assert auroc(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 1.0
    assert auroc(np.array([0.1, 0.2]), np.array([0.9, 0.8])) == 0.0
    assert auroc(np.array([0.5, 0.9]), np.array([0.5])) == 0.75


def test_a_class_can_be_ruled_out() -> None:
    kept = without_class(np.array([[0.2, 0.6, 0.2], [0.1, 0.5, 0.4]]), 1)
    np.testing.assert_allclose(kept, [[0.5, 0, 0.5], [0.2, 0, 0.8]])
