"""The benchmark of the trend operator measures what it says: a small run of each part."""

from pathlib import Path

import pytest

from benchmarks.trends import grid_search, year
from benchmarks.trends_scaling import draw, measure
from benchmarks.trends_stream import stream
from pipeline.backtest.session import Bounds, load
from pipeline.backtest.sharded import prepare_here


@pytest.mark.slow
def test_a_point_counts_its_entities_and_posts() -> None:
    point = measure(5, 20, days=3.0)
    assert (point.entities, point.density, point.posts) == (5, 20, 300)
    assert point.posts_per_second > 0
    assert 0 < point.held_bytes < 64_000
    assert 0 < point.encoded_bytes < 64_000
    assert min(point.encode_ms, point.decode_ms) > 0.0


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_curves_become_pictures(tmp_path: Path) -> None:
    point = measure(2, 1, days=3.0)
    draw([point], [point], "posts_per_second", "scored posts/s", tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_year_is_judged_and_a_sweep_runs_every_point() -> None:
    recording = load(stream(5, 300, 10.0), None, None, Bounds())
    found = year(recording, prepare_here) | grid_search(recording, points=2)
    assert found["posts"] == 300
    assert found["same_in_one_process"]
    assert found["sweep_points"] == 2
    assert found["seconds_for_a_year"] > 0 < found["seconds_for_a_sweep"]
