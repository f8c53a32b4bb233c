"""Sweeps: in processes of their own, tuned on the training span, resumed after an interruption."""

import json
import os
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.backtest import sweep as sweeps
from pipeline.backtest.evaluate import evaluate
from pipeline.backtest.grid import Point, configured
from pipeline.backtest.prices import Prices
from pipeline.backtest.session import Bounds, Recording, load
from pipeline.backtest.sharded import prepare_here
from pipeline.core.detector_config import DetectorConfig
from pipeline.errors import ConfigurationError
from tests.unit.backtest.alarms import alert
from tests.unit.core.streams import DAY_MS, START_MS, background, in_order, shift

CONFIG = replace(DetectorConfig(), false_alerts_per_entity_day=0.05)
POINTS: list[Point] = [{"share_weight": 0.25}, {"share_weight": 0.5}]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    return made(tmp_path)


def made(folder: Path) -> Recording:
    spike_ms = START_MS + 8 * DAY_MS
    posts = in_order(background("A", 14, 20, 1), shift("A", spike_ms, 12))
    truth = folder / "truth.jsonl"
    incident = {"entity": "A", "kind": "negative_spike", "from_ms": spike_ms, "to_ms": spike_ms + 3_600_000}
    truth.write_text(json.dumps(incident) + "\n")
    return load(posts, None, truth, Bounds(from_ms=START_MS + 11 * DAY_MS))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_processes_hold_the_training_posts_alone_and_find_what_one_process_finds(tmp_path: Path, recording: Recording) -> None:
    data = sweeps.write_data(recording, CONFIG, tmp_path, "UTC")
    early = [post for post in recording.posts if post.event_time_ms < recording.spans.train[1]]
    found = list(sweeps.sweep(data, CONFIG, POINTS, tmp_path / sweeps.RESULTS, 1))
    assert not data.path.exists(), "texts of posts stay beside the results"
    assert [result["point"] for result in found] == POINTS
    alone = sweeps.score_point(POINTS[0], prepare_here(early), recording.by_entity, CONFIG, data)
    assert found[0] == json.loads(json.dumps(alone))
    assert found[0]["train"]["recall"] == 1.0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_point_of_a_grid_is_left_out(tmp_path: Path, recording: Recording) -> None:
    """More points than are handed out at once."""
    data = sweeps.write_data(recording, CONFIG, tmp_path, "UTC")
    todo: list[Point] = [{"share_weight": 0.1 * number} for number in range(1, 6)]
    found = list(sweeps.sweep(data, CONFIG, todo, tmp_path / sweeps.RESULTS, 1))
    assert [result["point"] for result in found] == todo


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_point_that_no_detector_can_compute_with_is_named(tmp_path: Path, recording: Recording) -> None:
    data = sweeps.write_data(recording, CONFIG, tmp_path, "UTC")
    with pytest.raises(ConfigurationError, match=r"share_strength=1e\+308: no detector can compute with that"):
        list(sweeps.sweep(data, CONFIG, [{"share_strength": 1e308}], tmp_path / sweeps.RESULTS, 1))


def test_a_sweep_goes_on_where_it_stopped_and_forgets_a_half_written_line(tmp_path: Path, recording: Recording) -> None:
    data = sweeps.write_data(recording, CONFIG, tmp_path, "UTC")
    out = tmp_path / sweeps.RESULTS
    kept = {"point": POINTS[0], "objective": 123.0, "fingerprint": data.fingerprint}
    out.write_text(json.dumps(kept) + "\n" + '{"point": {"share_we')
    assert sweeps.known_results(out, data.fingerprint) == {json.dumps(POINTS[0], sort_keys=True): kept}
    assert list(sweeps.sweep(data, CONFIG, POINTS[:1], out, 1)) == [kept]
    assert out.read_text() == json.dumps(kept) + "\n"


def test_the_training_posts_stay_as_long_as_a_point_is_missing(tmp_path: Path, recording: Recording) -> None:
    data, out = sweeps.write_data(recording, CONFIG, tmp_path, "UTC"), tmp_path / sweeps.RESULTS
    kept = [{"point": point, "objective": 1.0, "fingerprint": data.fingerprint} for point in POINTS]
    out.write_text("".join(json.dumps(line) + "\n" for line in kept))
    under_way = sweeps.sweep(data, CONFIG, POINTS, out, 1)
    assert next(under_way) == kept[0]
    assert data.path.is_file()
    assert list(under_way) == kept[1:]
    assert not data.path.exists()


def test_a_point_is_judged_unfitted_where_the_run_is(tmp_path: Path, recording: Recording) -> None:
    early = [post for post in recording.posts if post.event_time_ms < recording.spans.train[1]]
    hashes = {}
    for timezone in ("UTC", None):
        data = sweeps.write_data(recording, CONFIG, tmp_path, timezone)
        result = sweeps.score_point(POINTS[0], prepare_here(early), recording.by_entity, CONFIG, data)
        hashes[timezone] = result["config_hash"]
    assert hashes[None] == configured(CONFIG, POINTS[0]).config_hash != hashes["UTC"]


def test_points_of_one_objective_are_told_from_a_best_one() -> None:
    weights: list[Point] = [{"share_weight": 0.3}, {"share_weight": 0.4}, {"share_weight": 0.7}]
    objectives = (0.0, 0.0, 0.1)
    wanted: list[tuple[int, Point]] = [(2, {}), (3, weights[2]), (1, weights[0])]
    for count, best in wanted:
        points = weights[:count]
        results = [{"point": point, "objective": found} for point, found in zip(points, objectives, strict=False)]
        config, tried = sweeps.chosen(results, points, CONFIG)
        assert tried["best"] == best, "a single point is what was asked for"
        assert config == configured(CONFIG, best)


def test_results_of_other_data_do_not_count(tmp_path: Path, recording: Recording) -> None:
    out = tmp_path / sweeps.RESULTS
    out.write_text(json.dumps({"point": POINTS[0], "objective": 1.0, "fingerprint": "another"}) + "\n")
    fingerprint = sweeps.write_data(recording, CONFIG, tmp_path, "UTC").fingerprint
    assert sweeps.known_results(out, fingerprint) == {}
    others = [
        sweeps.write_data(recording, CONFIG, tmp_path, "America/New_York"),
        sweeps.write_data(recording, replace(CONFIG, share_weight=0.9), tmp_path, "UTC"),
        sweeps.write_data(priced(recording, -0.1), CONFIG, tmp_path, "UTC"),
        sweeps.write_data(priced(recording, -0.2), CONFIG, tmp_path, "UTC"),
    ]
    assert len({fingerprint, *(other.fingerprint for other in others)}) == 5


def priced(recording: Recording, z: float) -> Recording:
    values = np.array([[z]])
    prices = Prices(("A",), np.array([START_MS]), values, values)
    return replace(recording, truth=replace(recording.truth, prices=prices))


KILLED = """
import json, sys
from multiprocessing import active_children
from pathlib import Path
from pipeline.backtest import sweep as sweeps
from tests.unit.backtest.test_sweep import CONFIG, POINTS, made

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    recording = made(folder)
    data = sweeps.write_data(recording, CONFIG, folder, "UTC")
    for _ in sweeps.sweep(data, CONFIG, POINTS, folder / sweeps.RESULTS, 1):
        print(json.dumps([child.pid for child in active_children()]), flush=True)
        sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="this system has no pidfd to watch a process with")
@pytest.mark.timeout(120)
def test_the_processes_of_a_killed_sweep_end_too(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as parent:
        assert parent.stdout is not None
        watched = [os.pidfd_open(pid) for pid in json.loads(parent.stdout.readline())]
        parent.kill()
    assert watched
    poller = select.poll()
    for descriptor in watched:
        poller.register(descriptor, select.POLLIN)
        assert poller.poll(30_000), "a process of the sweep goes on without its parent"
        poller.unregister(descriptor)
        os.close(descriptor)


def test_the_best_is_the_greatest_objective() -> None:
    results = [
        {"point": {"a": 1}, "objective": 0.1},
        {"point": {"a": 2}, "objective": 0.4},
        {"point": {"a": 3}, "objective": 0.2},
    ]
    tried: list[Point] = [{"a": 1}, {"a": 2}, {"a": 3}]
    assert sweeps.best_of(results, tried)["point"] == {"a": 2}


def test_of_equals_the_first_of_the_grid_is_best_whichever_ended_first() -> None:
    results = [{"point": {"a": 10}, "objective": 0.4}, {"point": {"a": 9}, "objective": 0.4}]
    tried: list[Point] = [{"a": 9}, {"a": 10}]
    assert sweeps.best_of(results, tried) == sweeps.best_of(results[::-1], tried) == results[1]


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
