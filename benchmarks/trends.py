"""The trend operator's speed and size: ``python -m benchmarks.trends --json``.

In process, on one core, posts already decoded: a dense stream (many posts a pane, where the work per post shows) and a
sparse one (hardly more than a post a pane, where the work per pane shows; the year of a real recording looks like this).
Times are CPU times of this process, so that neighbours on the machine do not count. Bytes are those of the encoded state,
and of the Python objects that hold it.
"""

import gc
import json
import platform
import random
import resource
import sys
import tracemalloc
from pathlib import Path
from time import process_time
from typing import Annotated, Any

import typer

from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import EntityState
from pipeline.core.spikes import NegativeSpikeOperator
from pipeline.events import ScoredPost, Sentiment
from pipeline.jobs.trends import TrendHost
from pipeline.replay.recorded import read_scored

START_MS = 1_704_067_200_000
DAY_MS = 86_400_000
REPEATS = 2
DENSE = {"entities": 10, "posts": 120_000, "days": 2.0}
YEAR = {"entities": 87, "posts": 51_108, "days": 365.0}
FLEET = {"entities": 10_000, "posts": 100_000, "days": 3.0}
TRACED = {"entities": 1_000, "posts": 10_000, "days": 3.0}


def stream(entities: int, posts: int, days: float, seed: int = 1) -> list[ScoredPost]:
    """Return posts at random times, every tenth of them a copy of an earlier text; volumes fall off as 1 / rank."""
    rng = random.Random(seed)
    weights = [1 / (rank + 3) for rank in range(entities)]
    names = rng.choices([f"E{rank}" for rank in range(entities)], weights, k=posts)
    times = sorted(rng.randrange(int(days * DAY_MS)) for _ in range(posts))
    moods = [Sentiment(negative=p / 20, neutral=0.0, positive=1 - p / 20) for p in range(21)]
    fingerprints = [f"{rng.getrandbits(64):016x}" for _ in range(posts)]
    return [
        ScoredPost(
            event_id=f"p{i}",
            event_time_ms=START_MS + time_ms,
            entity=name,
            author_id=f"a{rng.randrange(posts // 4)}",
            text="a text of about the usual length, which nobody reads, but which takes room in the state",
            sentiment=moods[min(20, int(rng.expovariate(0.25)))],
            simhash=fingerprints[i if rng.random() > 0.1 else rng.randrange(i + 1)],
            model="benchmark",
            model_revision="1",
        )
        for i, (name, time_ms) in enumerate(zip(names, times, strict=True))
    ]


def play(posts: list[ScoredPost]) -> tuple[float, TrendHost[EntityState], int]:
    """Return (CPU seconds, the host afterwards, alerts)."""
    config = DetectorConfig()
    host = TrendHost(NegativeSpikeOperator(config), config.out_of_orderness_ms)
    gc.collect()
    begun = process_time()
    alerts = {alert.alert_id for step in host.on_posts(posts) for alert in step.alerts}
    alerts |= {alert.alert_id for alert in host.finish().alerts}
    return process_time() - begun, host, len(alerts)


def speed(posts: list[ScoredPost]) -> dict[str, Any]:
    """Return the best of a few runs."""
    runs = [play(posts) for _ in range(REPEATS)]
    seconds = min(run[0] for run in runs)
    return {
        "posts": len(posts),
        "cpu_seconds": round(seconds, 3),
        "posts_per_second": round(len(posts) / seconds),
        "alerts": runs[0][2],
    }


def sizes(host: TrendHost[EntityState]) -> dict[str, int]:
    """Return the bytes of encoded state by entity."""
    encoded = sorted(len(state) for state in host.snapshot()[1].values())
    return {"encoded_p50": encoded[len(encoded) // 2], "encoded_max": encoded[-1], "entities": len(encoded)}


def traced() -> dict[str, Any]:
    """Return what the objects of a fleet's states take, counted one by one."""
    posts = stream(**TRACED)  # type: ignore[arg-type]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    host = play(posts)[1]
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    entities = len(list(host.entities))
    return {"entities": entities, "held_bytes_per_entity": round(held / entities)}


def fleet() -> dict[str, Any]:
    """Return what many entities take in one process, its input of decoded posts included."""
    posts = stream(**FLEET)  # type: ignore[arg-type]
    seconds, host, _ = play(posts)
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"posts_per_second": round(len(posts) / seconds), "process_peak_mb": round(peak_kb / 1024, 1), **sizes(host)}


def main(
    posts: Annotated[Path | None, typer.Option(help="Scored posts of a year, in place of synthetic ones.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object last.")] = False,
) -> None:
    """Measure the operator in process."""
    year = list(read_scored(posts)) if posts else stream(**YEAR)  # type: ignore[arg-type]
    dense = stream(**DENSE)  # type: ignore[arg-type]
    fast, sparse = speed(dense), speed(year)
    result = {
        "machine": f"{platform.machine()} {platform.system()}",
        "python": sys.version.split()[0],
        "posts_per_second_core": fast["posts_per_second"],
        "seconds_for_a_year": sparse["cpu_seconds"],
        "in_process": {"dense": fast, "sparse_year": sparse},
        "state": {"dense": sizes(play(dense)[1]), "sparse_year": sizes(play(year)[1])},
        "fleet": fleet(),
        "traced": traced(),
    }
    print(json.dumps(result, indent=None if as_json else 2))


if __name__ == "__main__":
    typer.run(main)
