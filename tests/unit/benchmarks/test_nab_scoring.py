"""The NAB scoring against cases computed by hand."""

from math import exp

import numpy as np
import pytest

from benchmarks.nab_scoring import LOW_FN, LOW_FP, PROFILES, STANDARD, Series, crossings, judge, scaled_sigmoid, total

MINUTE_MS = 60_000
PANE_MS = 5 * MINUTE_MS


def make_series(
    rows: int = 1_000, windows: tuple[tuple[int, int], ...] = ((400, 499),), labels: tuple[int, ...] = (450,)
) -> Series:
    times = np.arange(rows, dtype=np.int64) * PANE_MS
    return Series("X", times, windows, tuple(int(times[row]) for row in labels))


def test_sigmoid_has_the_values_of_the_paper() -> None:
    assert scaled_sigmoid(-1.0) == pytest.approx(0.98661, abs=1e-5)
    assert scaled_sigmoid(-0.5) == pytest.approx(0.84828, abs=1e-5)
    assert scaled_sigmoid(0.0) == pytest.approx(0.0)
    assert scaled_sigmoid(1.0) == pytest.approx(-0.98661, abs=1e-5)
    assert scaled_sigmoid(3.0) == -1.0
    assert scaled_sigmoid(1e6) == -1.0


@pytest.mark.parametrize("profile", PROFILES)
def test_silence_scores_0_and_left_edges_score_100(profile: object) -> None:
    series = make_series(windows=((400, 499), (700, 799)), labels=(450, 750))
    silent, perfect = judge(series, []), judge(series, [400, 700])
    assert silent.score(profile) == pytest.approx(0.0)  # type: ignore[arg-type]
    assert perfect.score(profile) == pytest.approx(100.0)  # type: ignore[arg-type]


def test_hit_in_the_middle_by_hand() -> None:
    outcome = judge(make_series(), [450])
    position = -(499 - 450 + 1) / 100
    worth = (2 / (1 + exp(5 * position)) - 1) / (2 / (1 + exp(-5)) - 1)
    assert outcome.gained == pytest.approx(worth)
    assert outcome.score(STANDARD) == pytest.approx(100 * (worth + 1) / 2)
    assert outcome.score(LOW_FN) == pytest.approx(100 * (worth + 2) / 3)


def test_only_the_best_alert_of_a_window_counts() -> None:
    assert judge(make_series(), [420, 450, 490]).gained == judge(make_series(), [420]).gained


def test_false_alert_before_any_window_costs_its_full_price() -> None:
    outcome = judge(make_series(), [200, 400])
    assert outcome.score(STANDARD) == pytest.approx(100 * (1 - 0.11 + 1) / 2)
    assert outcome.score(LOW_FP) == pytest.approx(100 * (1 - 0.22 + 1) / 2)


def test_false_alert_just_behind_a_window_costs_less() -> None:
    series = make_series()
    near, far = judge(series, [505]), judge(series, [900])
    assert near.paid == pytest.approx(2 / (1 + exp(5 * 6 / 99)) - 1)
    assert far.paid == -1.0


def test_probation_is_15_percent_but_at_most_750_rows() -> None:
    assert make_series(rows=1_000).probation_rows == 150
    assert make_series(rows=15_000).probation_rows == 750
    assert judge(make_series(), [149]).paid == 0.0
    assert judge(make_series(), [150]).paid == -1.0


def test_false_alerts_within_six_hours_are_one_episode() -> None:
    six_hours = 6 * 12
    outcome = judge(make_series(windows=(), labels=()), [200, 200 + six_hours, 201 + 2 * six_hours])
    assert outcome.false_alerts == 2
    assert outcome.false_alerts_per_day == pytest.approx(2 / (850 / 288))


@pytest.mark.parametrize(("row", "prompt"), [(446, 0), (447, 1), (456, 1), (457, 0)])
def test_prompt_is_15_minutes_before_to_30_after_the_label(row: int, prompt: int) -> None:
    assert judge(make_series(), [row]).prompt == prompt


def test_a_window_with_two_labels_is_prompt_for_either() -> None:
    series = make_series(labels=(420, 470))
    assert judge(series, [471]).prompt == 1
    assert judge(series, [421]).prompt == 1


def test_corpus_is_the_sum_over_series_not_the_mean_of_scores() -> None:
    one = make_series(windows=((400, 499), (700, 799)), labels=(450, 750))
    two = make_series()
    assert total([judge(one, [400, 700]), judge(two, [])]).score(STANDARD) == pytest.approx(100 * 2 / 3)


def test_crossings_stay_quiet_for_the_cooldown() -> None:
    times = np.arange(10, dtype=np.int64) * PANE_MS
    scores = np.array([0, 5, 5, 5, 5, 0, 5, 0, 0, 5], dtype=np.float64)
    assert crossings(times, scores, 5.0, 3 * PANE_MS) == [1, 4, 9]
    assert crossings(times, scores, 5.1, 3 * PANE_MS) == []
