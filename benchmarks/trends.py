"""The trend operator's speed and size: ``python -m benchmarks.trends --json``.

In process, on one core, posts already decoded: a dense stream (many posts a pane, where the work per post shows), the same
after a week of history, and a sparse one (hardly more than a post a pane, where the work per pane shows; the year of a real
recording looks like this). Speeds are in CPU seconds of this process, so that neighbours on the machine count less. Bytes are
those of the encoded state, and of the Python objects that hold it.

Then a backtest of a whole year (fit on its first half, run, judge; by all cores; their start, reading and drawing not counted)
and a sweep over its first half in two processes (their start counted). Flink is measured by ``benchmarks.flink`` (minutes;
``--no-flink`` leaves it out).
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Annotated, Any

import typer

from benchmarks import command
from benchmarks.machine import describe
from benchmarks.trends_scaling import alone, feed, play, scaling
from benchmarks.trends_stream import START_MS, stream
from pipeline.backtest.grid import points as grid_points
from pipeline.backtest.session import Bounds, Recording, backtest, load
from pipeline.backtest.sharded import Prepare, preparing
from pipeline.backtest.sweep import RESULTS, sweep, write_data
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import EntityState
from pipeline.events import ScoredPost
from pipeline.jobs.trends import TrendHost
from pipeline.pool import cores
from pipeline.replay.recorded import read_scored
from pipeline.times import DAY_MS

REPEATS = 3
DENSE = {"entities": 10, "posts": 120_000, "days": 2.0}
SETTLED = {"entities": 10, "posts": 480_000, "days": 8.0}
SETTLED_AFTER_MS = START_MS + 6 * DAY_MS
YEAR = {"entities": 87, "posts": 51_108, "days": 365.0}
FLEET = (10_000, 10)
GRID: dict[str, list[float | int]] = {
    "share_weight": [0.1 * step for step in range(1, 11)],
    "winsor_sigmas": [2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5],
}
TIMEZONE = "America/New_York"


def speed(posts: list[ScoredPost]) -> dict[str, Any]:
    """Return the best of a few runs."""
    runs = [play(posts) for _ in range(REPEATS)]
    return _rate(len(posts), min(run[0] for run in runs)) | {"alerts": runs[0][2]}


def settled() -> dict[str, Any]:
    """Return the speed at the dense stream once its entities are known: no cold start, and levels that fit."""
    posts = stream(**SETTLED)  # type: ignore[arg-type]
    early = [post for post in posts if post.event_time_ms < SETTLED_AFTER_MS]
    host = play(early)[1]
    late = posts[len(early) :]
    return _rate(len(late), feed(host, late)[0])


def _rate(posts: int, seconds: float) -> dict[str, Any]:
    return {"posts": posts, "cpu_seconds": round(seconds, 3), "posts_per_second": round(posts / seconds)}


def sizes(host: TrendHost[EntityState]) -> dict[str, int]:
    """Return the bytes of encoded state by entity."""
    encoded = sorted(len(state) for state in host.snapshot().states.values())
    return {"encoded_p50": encoded[len(encoded) // 2], "encoded_max": encoded[-1], "entities": len(encoded)}


def year(recording: Recording, prepare: Prepare) -> dict[str, Any]:
    """Return the seconds of a backtest, in wall-clock time by all cores, and in CPU time of one process beside it."""
    config = DetectorConfig()
    outcome = backtest(recording, config, TIMEZONE, seed=7, prepare=prepare)
    begun = process_time()
    alone = backtest(recording, config, TIMEZONE, seed=7)
    return {
        "posts": len(recording.posts),
        "seconds_for_a_year": round(outcome.seconds, 3),
        "cpu_seconds_for_a_year": round(process_time() - begun, 3),
        "same_in_one_process": outcome.told == alone.told,
    }


def grid_search(recording: Recording, points: int) -> dict[str, Any]:
    """Return the seconds of a sweep in two processes: in wall-clock time, and their CPU time, start and all."""
    config, todo = DetectorConfig(), grid_points(GRID)[:points]
    with TemporaryDirectory(prefix="groundswell-bench-") as folder:
        began, before = perf_counter(), _children_s()
        data = write_data(recording, config, Path(folder), TIMEZONE)
        done = len(list(sweep(data, config, todo, Path(folder) / RESULTS, processes=2)))
        wall_s, cpu_s = perf_counter() - began, _children_s() - before
    return {"sweep_points": done, "seconds_for_a_sweep": round(wall_s, 1), "cpu_seconds_for_a_sweep": round(cpu_s, 1)}


def _children_s() -> float:
    used = getrusage(RUSAGE_CHILDREN)  # of processes that have ended
    return used.ru_utime + used.ru_stime


def in_flink() -> dict[str, Any]:
    """Return what ``benchmarks.flink`` prints, or why it could not run."""
    words: Sequence[str] = [sys.executable, "-m", "benchmarks.flink", "--json"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    lines = ran.stdout.strip().splitlines()
    if ran.returncode != 0 or not lines:
        return {"failed": (ran.stderr.strip().splitlines() or ["no output"])[-1]}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def main(
    posts: Annotated[Path | None, typer.Option(help="Scored posts of a year, in place of synthetic ones.")] = None,
    prices: Annotated[Path | None, typer.Option(help="Daily prices for the backtest of that year.")] = None,
    points: Annotated[int, typer.Option(min=1, max=100, help="Of the sweep.")] = 100,
    plots: Annotated[Path | None, typer.Option(help="Folder for the scaling plots.")] = None,
    flink: Annotated[bool, typer.Option(help="Run benchmarks.flink too.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object last.")] = False,
) -> None:
    """Measure the operator in process and in Flink, a year's backtest, a sweep, and how speed and memory scale."""
    recorded = list(read_scored(posts)) if posts else stream(**YEAR)  # type: ignore[arg-type]
    dense = stream(**DENSE)  # type: ignore[arg-type]
    fast, sparse, known = speed(dense), speed(recorded), settled()
    with preparing(cores()) as prepare:
        recording = load(recorded, prices, None, Bounds())
        tried = year(recording, prepare)
    tried |= grid_search(recording, points)
    fleet = alone(*FLEET)
    result = {
        "machine": describe(("pydantic", "numpy")),
        "posts_per_second_core": fast["posts_per_second"],
        "in_process": {"dense": fast, "dense_settled": known, "sparse_year": sparse},
        **tried,
        "state": {"dense": sizes(play(dense)[1]), "sparse_year": sizes(play(recorded)[1])},
        "bytes_per_entity": fleet.held_bytes,
        "fleet": asdict(fleet),
        "scaling": scaling(plots),
        "flink": in_flink() if flink else None,
    }
    print(json.dumps(result, indent=None if as_json else 2))


if __name__ == "__main__":
    command.run(partial(typer.run, main))
