"""How the trend operator's speed and memory grow with the number of entities and with their density, as numbers and plots.

Every point runs in a process of its own, so that no point finds the memory of another. Speed is in CPU seconds. Memory is
what the host's objects take, counted allocation by allocation; texts and names that the input posts hold as well are not
counted, though the process's peak has them.
"""

import gc
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import process_time
from timeit import repeat
from typing import Any

from benchmarks.trends_stream import stream
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import EntityState
from pipeline.core.spikes import NegativeSpikeOperator
from pipeline.events import ScoredPost
from pipeline.jobs.trends import TrendHost

ENTITIES = (10, 100, 1_000, 10_000)
DENSITIES = (1, 10, 100, 1_000, 10_000)
MIDDLE_DENSITY = 10
MIDDLE_ENTITIES = 10
MOST_POSTS = 20_000  # but for those that LEAST_DAYS ask for
LEAST_DAYS = 1.5  # contents are remembered, and the longest window reaches back, for a day
MOST_DAYS = 120.0


@dataclass(frozen=True)
class Point:
    """One run. ``density``: posts per entity and day. ``held_bytes``: what the states take by entity, objects and all.

    ``encode_ms`` and ``decode_ms`` are the CPU time of writing and reading the state of one entity.
    """

    entities: int
    density: int
    posts: int
    posts_per_second: int
    held_bytes: int
    encoded_bytes: int
    encode_ms: float
    decode_ms: float
    process_peak_mb: float


def play(posts: list[ScoredPost]) -> tuple[float, TrendHost[EntityState], int]:
    """Return (CPU seconds, the host afterwards, alerts)."""
    config = DetectorConfig()
    host = TrendHost(NegativeSpikeOperator(config), config.out_of_orderness_ms)
    seconds, alerts = feed(host, posts)
    return seconds, host, alerts


def feed(host: TrendHost[EntityState], posts: list[ScoredPost]) -> tuple[float, int]:
    """Return (CPU seconds, alerts). The collector need not look through the input: in a stream it would not be there."""
    gc.collect()
    gc.freeze()
    begun = process_time()
    alerts = {alert.alert_id for step in host.on_posts(posts) for alert in step.alerts}
    seconds = process_time() - begun
    gc.unfreeze()
    return seconds, len(alerts)


def measure(entities: int, density: int, days: float) -> Point:
    """Return one point, measured in this process. The last panes stay open, as in a running system."""
    posts = stream(entities, round(entities * density * days), days)
    seconds, host, _ = play(posts)
    seen = len(list(host.entities))
    peak_mb = round(getrusage(RUSAGE_SELF).ru_maxrss / 1024, 1)
    snapshot = host.snapshot()
    return Point(
        entities=seen,
        density=density,
        posts=len(posts),
        posts_per_second=round(len(posts) / seconds),
        held_bytes=round(held_bytes(posts) / seen),
        encoded_bytes=round(sum(map(len, snapshot.states.values())) / seen),
        encode_ms=best_ms(host.snapshot, seen),
        decode_ms=best_ms(lambda: host.restore(snapshot), seen),
        process_peak_mb=peak_mb,
    )


def best_ms(call: Callable[[], object], states: int) -> float:
    """Return the CPU milliseconds of a call by state: the best of five."""
    return round(1_000 * min(repeat(call, number=1, repeat=5, timer=process_time)) / states, 3)


def held_bytes(posts: list[ScoredPost]) -> int:
    """Return what all objects of the host take after these posts, allocation by allocation, which takes a run of its own."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    host = play(posts)[1]
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    del host
    return held


@cache
def alone(entities: int, density: int) -> Point:
    """Return ``measure`` of a fresh process; each point once, for both curves have the middle one."""
    days = min(MOST_DAYS, max(LEAST_DAYS, MOST_POSTS / (entities * density)))
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(measure, entities, density, days).result()


def scaling(folder: Path | None) -> dict[str, Any]:
    """Return both curves; with a folder, draw them there as speed.png and memory.png."""
    by_entities = [alone(entities, MIDDLE_DENSITY) for entities in ENTITIES]
    by_density = [alone(MIDDLE_ENTITIES, density) for density in DENSITIES]
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        draw(by_entities, by_density, "posts_per_second", "scored posts/s, one core", folder / "operator-speed.png")
        draw(by_entities, by_density, "held_bytes", "bytes held per entity", folder / "operator-memory.png")
    return {
        "by_entities": [asdict(point) for point in by_entities],
        "by_density": [asdict(point) for point in by_density],
    }


def draw(by_entities: list[Point], by_density: list[Point], value: str, label: str, path: Path) -> None:
    """Draw one value of both curves, side by side on one scale, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, points, by, title in (
        (left, by_entities, "entities", f"{MIDDLE_DENSITY} posts per entity and day"),
        (right, by_density, "density", f"{MIDDLE_ENTITIES} entities"),
    ):
        axis.plot([getattr(point, by) for point in points], [getattr(point, value) for point in points], "o-")
        axis.set(xscale="log", yscale="log", title=title)
        axis.set_xlabel("entities" if by == "entities" else "posts per entity and day")
        axis.grid(visible=True, which="both", alpha=0.2)
    left.set_ylabel(label)
    figure.savefig(path, metadata={"Software": None})
