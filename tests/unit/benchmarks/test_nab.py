"""The NAB benchmark on a made-up corpus; the known values of NAB's own data where the data are there."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks import nab
from benchmarks.nab_scoring import PROFILES, Series
from benchmarks.nab_volume import VolumeRules
from pipeline.core.trends import PANE_MS
from pipeline.errors import ConfigurationError
from pipeline.times import HOUR_MS

START_MS = 1_400_000_000_000
DATA = Path(os.environ.get("GROUNDSWELL_DATA", "../shared/data")) / "streams" / "nab_real_tweets.jsonl.gz"


def write_corpus(path: Path, rows: int = 3_000) -> Path:
    rng = np.random.default_rng(3)
    with gzip.open(path, "wt") as lines:
        for number in range(3):
            counts = rng.negative_binomial(2, 0.2, rows)
            spikes = [1_200 + 100 * number, 2_300 + 100 * number]
            for spike in spikes:
                counts[spike : spike + 12] += 150
            times = [START_MS + row * PANE_MS for row in range(rows)]
            document = {
                "entity": f"E{number}",
                "labels": [times[spike] for spike in spikes],
                "windows": [[times[spike - 100], times[spike + 100]] for spike in spikes],
                "counts": [[time, int(count)] for time, count in zip(times, counts, strict=True)],
            }
            lines.write(json.dumps(document) + "\n")
    return path


@pytest.mark.slow
def test_planted_bursts_are_found_at_once_and_json_has_the_promised_fields(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nab.main(["--counts", str(write_corpus(tmp_path / "counts.jsonl.gz")), "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"standard", "low_fp", "low_fn", "windows_found", "windows", "prompt_recall", "dummies"} <= set(result)
    assert (result["windows_found"], result["windows"]) == (6, 6)
    assert result["prompt_recall_with_escalations"] >= result["prompt_recall"] >= 0.5
    assert result["standard"] > 75
    assert result["dummies"]["never"] == {
        "standard": 0.0, "low_fp": 0.0, "low_fn": 0.0, "windows_found": 0, "false_alerts_per_entity_day": 0.0,
    }  # fmt: skip
    assert result["standard"] > result["dummies"]["every_72h"]["standard"]


def test_a_score_depends_on_the_past_alone(tmp_path: Path) -> None:
    data = nab.read_counts(write_corpus(tmp_path / "counts.jsonl.gz", rows=2_700))
    whole = nab.volume_scores(data, VolumeRules(), "UTC")
    cut = [nab.Counts(Series(one.series.entity, one.series.times_ms[:1500], (), ()), one.counts[:1500]) for one in data]
    for full, early in zip(whole, nab.volume_scores(cut, VolumeRules(), "UTC"), strict=True):
        assert np.array_equal(full[:1500], early)


@pytest.mark.slow
def test_a_left_out_series_does_not_choose_its_own_threshold(tmp_path: Path) -> None:
    data = nab.read_counts(write_corpus(tmp_path / "counts.jsonl.gz"))
    scores = nab.volume_scores(data, VolumeRules(), "UTC")
    before = nab.leave_one_out(data, scores, PROFILES[0]).thresholds["E0"]
    changed = [np.where(scores[0] > 2, 8.9, scores[0]), *scores[1:]]
    assert nab.leave_one_out(data, changed, PROFILES[0]).thresholds["E0"] == before


def test_an_alert_that_gets_much_worse_is_announced_once_more() -> None:
    times = START_MS + np.arange(600, dtype=np.int64) * PANE_MS
    series = Series("X", times, (), ())
    scores = np.zeros(600)
    scores[[100, 120, 130, 500]] = [4.0, 7.0, 9.0, 4.0]
    assert nab.announcements(series, scores, 4.0) == [100, 120, 500]
    assert nab.announcements(series, scores, 7.0) == [120]


def test_unsorted_counts_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "counts.jsonl"
    counts = [[START_MS, 1], [START_MS - PANE_MS, 2]]
    path.write_text(json.dumps({"entity": "X", "labels": [], "windows": [], "counts": counts}) + "\n")
    with pytest.raises(ConfigurationError, match="times of X do not ascend"):
        nab.read_counts(path)


SERIES = {"entity": "X", "labels": [], "windows": [], "counts": [[START_MS, 1], [START_MS + PANE_MS, 2]]}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no series"),
        ([{"entity": "X", "counts": []}], "line 1: field labels is missing"),
        ([SERIES, SERIES], "holds the series 'X' twice"),
        ([SERIES | {"counts": [[START_MS, float("nan")]]}], "counts of X hold nan; leave the row out"),
        ([SERIES | {"counts": [[START_MS, -1]]}], "counts of X hold -1.0"),
        ([SERIES | {"counts": [["yesterday", 1]]}], "series 'X': .*yesterday.*; expected counts"),
        ([SERIES | {"counts": [[START_MS, 10**400]]}], "series 'X': int too large to convert to float; expected counts"),
        ([SERIES | {"counts": [[1.5, 1]]}], "series 'X': 1.5 is no time; expected counts"),
        ([SERIES | {"windows": [START_MS]}], "series 'X': .*; expected counts"),
        ([SERIES | {"windows": [[START_MS + 9, START_MS]]}], "series 'X': the window 2014-05-13.* ends before it begins"),
        ([SERIES | {"windows": [[START_MS, START_MS]]}], "ends before it begins; swap its times"),
        ([SERIES | {"windows": [[START_MS, START_MS + 9]] * 2}], "series 'X': windows overlap, .*; merge them"),
        ([SERIES | {"windows": [[START_MS, START_MS + 9], [START_MS + 9, START_MS + 20]]}], "windows overlap"),
        ([SERIES | {"counts": [[START_MS // 1000, 1]]}], "time 1400000000 lies outside 2000 to 2100; multiply epoch seconds"),
    ],
)
def test_what_is_no_series_is_refused_by_name(tmp_path: Path, rows: list[dict[str, object]], message: str) -> None:
    path = tmp_path / "counts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigurationError, match=message):
        nab.read_counts(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rows", [0, 1])
def test_a_series_of_one_row_or_none_leaves_every_number_finite(
    tmp_path: Path, rows: int, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "counts.jsonl"
    path.write_text(json.dumps(SERIES | {"counts": SERIES["counts"][:rows]}) + "\n")
    nab.main(["--counts", str(path), "--json"])
    assert "NaN" not in capsys.readouterr().out


@pytest.mark.parametrize("others", [0, 1])
def test_a_series_whose_others_teach_nothing_gets_the_threshold_of_nab(tmp_path: Path, others: int) -> None:
    data = nab.read_counts(write_corpus(tmp_path / "counts.jsonl.gz"))[:1]
    data += [nab.Counts(Series("constant", data[0].series.times_ms, (), ()), np.ones(3_000))] * others
    found = nab.leave_one_out(data, nab.volume_scores(data, VolumeRules(), "UTC"), PROFILES[0])
    assert found.thresholds["E0"] == pytest.approx(4.0, abs=0.02)
    assert (found.outcome.found, found.outcome.false_alerts) == (2, 0)


def test_windows_that_hold_no_row_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Counted as missed, half of a recording had half of its score."""
    path = tmp_path / "counts.jsonl"
    counts = [[START_MS + row * PANE_MS, 1] for row in (*range(100), *range(200, 300))]
    windows = [
        [START_MS + first * PANE_MS, START_MS + last * PANE_MS] for first, last in ((50, 60), (120, 180), (290, 310), (400, 410))
    ]
    path.write_text(json.dumps({"entity": "X", "labels": [], "windows": windows, "counts": counts}) + "\n")
    (one,) = nab.read_counts(path)
    assert (one.series.windows, one.unrecorded) == (((50, 60), (190, 199)), 2)
    nab.main(["--counts", str(path), "--json"])
    told = capsys.readouterr()
    assert (json.loads(told.out)["windows"], json.loads(told.out)["windows_without_rows"]) == (2, 2)
    assert "2 windows hold no row" in told.err


def test_rows_of_one_pane_are_summed_and_the_last_of_them_has_the_score() -> None:
    rng = np.random.default_rng(5)
    counts = rng.negative_binomial(2, 0.2, 600).astype(np.float64)
    times = START_MS // PANE_MS * PANE_MS + np.arange(600, dtype=np.int64) * PANE_MS
    whole = nab.Counts(Series("X", times, (), ()), counts)
    halves = nab.Counts(
        Series("X", np.sort(np.concatenate([times, times + PANE_MS // 2])), (), ()),
        np.stack([counts // 2, counts - counts // 2], axis=1).ravel(),
    )
    (scores,), (halved,) = (nab.volume_scores([one], VolumeRules(), "UTC") for one in (whole, halves))
    assert np.array_equal(halved[1::2], scores)
    assert not halved[::2].any()


def test_missing_rows_do_not_move_a_dummy() -> None:
    times = START_MS + np.arange(3_000, dtype=np.int64) * PANE_MS
    gone = np.delete(times, np.arange(10, 700))
    rows, fewer = (nab._every(Series("X", t, (), ()), nab.DUMMY_HOURS[0] * HOUR_MS) for t in (times, gone))
    assert rows == list(range(144, 3_000, 288))
    assert gone[fewer[1:]].tolist() == times[rows[2:]].tolist()  # the first two fall into the gap, and count once behind it
    assert gone[fewer[0]] == times[700]


@pytest.mark.data
def test_blind_dummies_have_the_published_scores() -> None:
    if not DATA.is_file():
        pytest.skip(f"needs {DATA}")
    found = nab.dummies(nab.read_counts(DATA))
    assert found["every_72h"]["standard"] == pytest.approx(28.6, abs=0.05)
    assert found["every_72h"]["false_alerts_per_entity_day"] == pytest.approx(0.284, abs=0.001)
    assert found["every_24h"]["standard"] == pytest.approx(20.7, abs=0.05)
    assert found["every_24h"]["windows_found"] == 33
