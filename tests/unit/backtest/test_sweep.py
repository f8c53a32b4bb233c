"""Sweeps: in processes of their own, tuned on the training span, resumed after an interruption."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.backtest import sweep as sweeps
from pipeline.backtest.evaluate import evaluate
from pipeline.backtest.grid import Point
from pipeline.backtest.session import Bounds, Recording, load
from pipeline.core.detector_config import DetectorConfig
from tests.unit.backtest.alarms import alert
from tests.unit.core.streams import DAY_MS, START_MS, background, in_order, shift

CONFIG = replace(DetectorConfig(), false_alerts_per_entity_day=0.05)
POINTS: list[Point] = [{"share_weight": 0.25}, {"share_weight": 0.5}]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    spike_ms = START_MS + 8 * DAY_MS
    posts = in_order(background("A", 14, 20, 1), shift("A", spike_ms, 12))
    truth = tmp_path / "truth.jsonl"
    incident = {"entity": "A", "kind": "negative_spike", "from_ms": spike_ms, "to_ms": spike_ms + 3_600_000}
    truth.write_text(json.dumps(incident) + "\n")
    return load(posts, None, truth, Bounds(from_ms=START_MS + 11 * DAY_MS))


@pytest.mark.timeout(240)
def test_processes_hold_the_training_posts_alone_and_find_what_one_process_finds(tmp_path: Path, recording: Recording) -> None:
    data = sweeps.prepare(recording, tmp_path, "UTC")
    early = [post for post in recording.posts if post.event_time_ms < recording.spans.train[1]]
    found = list(sweeps.sweep(data, CONFIG, POINTS, tmp_path / sweeps.RESULTS, 1))
    assert [result["point"] for result in found] == POINTS
    alone = sweeps.score_point(POINTS[0], early, recording.by_entity, CONFIG, data)
    assert found[0] == json.loads(json.dumps(alone))
    assert found[0]["train"]["recall"] == 1.0


def test_a_sweep_goes_on_where_it_stopped_and_forgets_a_half_written_line(tmp_path: Path, recording: Recording) -> None:
    data = sweeps.prepare(recording, tmp_path, "UTC")
    out = tmp_path / sweeps.RESULTS
    kept = {"point": POINTS[0], "objective": 123.0, "fingerprint": data.fingerprint}
    out.write_text(json.dumps(kept) + "\n" + '{"point": {"share_we')
    assert sweeps.known_results(out, data.fingerprint) == {json.dumps(POINTS[0], sort_keys=True): kept}
    assert list(sweeps.sweep(data, CONFIG, POINTS[:1], out, 1)) == [kept]
    assert out.read_text() == json.dumps(kept) + "\n"


def test_results_of_other_data_do_not_count(tmp_path: Path, recording: Recording) -> None:
    out = tmp_path / sweeps.RESULTS
    out.write_text(json.dumps({"point": POINTS[0], "objective": 1.0, "fingerprint": "another"}) + "\n")
    fingerprint = sweeps.prepare(recording, tmp_path, "UTC").fingerprint
    assert sweeps.known_results(out, fingerprint) == {}
    assert sweeps.prepare(recording, tmp_path, "America/New_York").fingerprint != fingerprint


def test_the_best_is_the_greatest_objective() -> None:
    results = [
        {"point": {"a": 1}, "objective": 0.1},
        {"point": {"a": 2}, "objective": 0.4},
        {"point": {"a": 3}, "objective": 0.2},
    ]
    assert sweeps.best_of(results)["point"] == {"a": 2}


def test_the_objective_rewards_hits_and_punishes_exceeding_the_target(recording: Recording) -> None:
    spike_ms = START_MS + 8 * DAY_MS
    spans = replace(recording.spans, test=recording.spans.train)

    def score(count: int) -> float:
        alerts = [alert("hit", "A", spike_ms + 1), *(alert(str(i), "A", spike_ms - i * DAY_MS) for i in range(1, count))]
        return sweeps.objective(evaluate(alerts, recording.by_entity, recording.truth, spans, 0.2), 0.2)

    assert score(1) == 1.0
    assert score(2) < 1.0
    assert score(7) < 0.0
    assert sweeps.objective(evaluate([], recording.by_entity, recording.truth, spans, 0.2), 0.2) == 0.0
