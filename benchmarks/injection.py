"""Plant negative posts into a real background and see which are found: ``python -m benchmarks.injection --posts FILE --json``.

The first half of the recording fits the detector, the second half is the background. ``k`` posts with different texts and
authors are spread over one hour; how negative each seems is drawn from the background's own negative posts, so that the
model's doubts are part of the measurement. A plant is found when an alert opens within three hours, or one that is still
open escalates; its delay counts from the beginning of the hour. Real events in the background count as false alerts, so
realised rates are upper bounds.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import command
from pipeline import settings as settings_module
from pipeline.backtest.detections import detections
from pipeline.backtest.exchange import HOURS, NEW_YORK, Exchange, read_exchange
from pipeline.backtest.fit import fit_prior
from pipeline.backtest.run import run
from pipeline.backtest.session import Bounds, Recording, load
from pipeline.backtest.tiers import NEW, tier_of_entity
from pipeline.commands.options import EncoderChoice
from pipeline.commands.replay import scoring_for
from pipeline.core.alerts import MOODS
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import EntityState
from pipeline.core.shown import utc
from pipeline.core.spikes import make_operator
from pipeline.core.trends import TrendOperator
from pipeline.errors import ConfigurationError
from pipeline.events import AlertStatus, ScoredPost
from pipeline.jobs.trends import TrendHost
from pipeline.replay.raw import read_posts
from pipeline.times import DAY_MS, HOUR_MS, MINUTE_MS

HIT_MS = 3 * HOUR_MS
SIZES = (2, 4, 6, 8, 12)
RATES = (0.001, 0.002, 0.005, 0.02)
MARKET, OTHER, ANY = "market", "other", "any"
NEGATIVE = 0.5
ANNOUNCED = (AlertStatus.OPENED, AlertStatus.ESCALATED)
OLD_ACCOUNT_MS = 1_000 * DAY_MS


@dataclass(frozen=True)
class Plant:
    """k posts about one entity within the hour from ``at_ms``."""

    entity: str
    at_ms: int
    k: int
    tier: str
    hours: str


@dataclass(frozen=True)
class Background:
    """The recording, the configuration fitted on its first half, and when the detector speaks without any plant."""

    recording: Recording
    config: DetectorConfig
    spoken_ms: dict[str, list[int]]
    rate: float
    exchange: Exchange


def halves(posts: Sequence[ScoredPost]) -> Recording:
    """Return the recording, whose second half a plant and the time to find it must fit into."""
    recording = load(posts, None, None, Bounds())
    first, last = recording.spans.test
    if last - first <= HIT_MS:
        raise ConfigurationError(f"the second half, {utc(first)} to {utc(last)}, is not longer than three hours; give more posts")
    return recording


def background(recording: Recording, rate: float, exchange: Exchange) -> Background:
    """Return the background at a wanted rate of false alerts per entity-day."""
    wanted = replace(DetectorConfig(), false_alerts_per_entity_day=rate)
    config = replace(wanted, prior=fit_prior(recording.posts, recording.spans.train, wanted, exchange.timezone))
    spoken: dict[str, list[int]] = {}
    for found in detections(run(recording.posts, config).alerts):
        spoken.setdefault(found.alert.entity, []).append(found.at_ms)
    return Background(recording, config, spoken, rate, exchange)


def choose_plants(found: Background, sizes: Sequence[int], per_cell: int, seed: int) -> list[Plant]:
    """Return ``per_cell`` plants for each size, tier and type of hour, where the detector has been silent for a day.

    Four times as many go to any entity at any time, each entity as likely as another.
    """
    rng = np.random.default_rng(seed)
    tiers = tier_of_entity(found.recording.by_entity, *found.recording.spans.train)
    names = sorted(set(tiers.values()) - {NEW})
    plants: list[Plant] = []
    for tier in names:
        members = sorted(entity for entity, own in tiers.items() if own == tier)
        for hours in (MARKET, OTHER):
            times = _times(found, members, hours, per_cell, rng)
            plants += [Plant(entity, at_ms, k, tier, hours) for k in sizes for entity, at_ms in times]
    times = _times(found, sorted(tiers), ANY, 4 * per_cell, rng)
    return plants + [Plant(entity, at_ms, k, ANY, ANY) for k in sizes for entity, at_ms in times]


def _times(found: Background, members: Sequence[str], hours: str, count: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    """Draw (entity, time) pairs; the same ones serve every size, so that sizes compare on equal backgrounds."""
    first, last = found.recording.spans.test
    chosen: list[tuple[str, int]] = []
    for _ in range(200 * count):
        entity, at_ms = str(rng.choice(members)), int(rng.integers(first, last - HIT_MS))
        silent = all(not -HIT_MS < at_ms - spoken < DAY_MS for spoken in found.spoken_ms.get(entity, []))
        if silent and (hours == ANY or found.exchange.is_open(at_ms) == (hours == MARKET)):
            chosen.append((entity, at_ms))
        if len(chosen) == count:
            break
    return chosen


def planted_posts(plant: Plant, negatives: Sequence[ScoredPost], seed: int) -> list[ScoredPost]:
    """Return the posts of a plant in time order. Equal seeds give equal posts."""
    rng = np.random.default_rng([seed, plant.at_ms % 2**31, plant.k])
    times = np.sort(rng.integers(plant.at_ms, plant.at_ms + HOUR_MS, size=plant.k))
    models = rng.integers(0, len(negatives), size=plant.k)
    prints = rng.integers(0, 2**63, size=plant.k)
    return [
        negatives[model].model_copy(
            update={
                "event_id": f"planted-{plant.at_ms}-{number}",
                "event_time_ms": int(time),
                "available_at_ms": None,
                "entity": plant.entity,
                "author_id": f"planted-{plant.at_ms}-{number}",
                "author_created_ms": plant.at_ms - OLD_ACCOUNT_MS,
                "simhash": f"{int(fingerprint):016x}",
                "text": "",
            }
        )
        for number, (time, model, fingerprint) in enumerate(zip(times, models, prints, strict=True))
    ]


def delays(found: Background, plants: Sequence[Plant], seed: int) -> dict[Plant, int | None]:
    """Return for each plant the milliseconds until an alert opened, None where none did within three hours."""
    train_end = found.recording.spans.train[1]
    negatives = [p for p in found.recording.posts if p.event_time_ms < train_end and p.sentiment.negative >= NEGATIVE]
    if not negatives:
        raise ConfigurationError(f"no post before {utc(train_end)} is negative (probability of at least {NEGATIVE}); give more")
    operator = make_operator(found.config)
    result: dict[Plant, int | None] = {}
    for entity in sorted({plant.entity for plant in plants}):
        own = sorted((plant for plant in plants if plant.entity == entity), key=lambda plant: (plant.at_ms, plant.k))
        result.update(_of_entity(found, operator, own, [planted_posts(plant, negatives, seed) for plant in own]))
    return result


def _of_entity(
    found: Background, operator: TrendOperator[EntityState], plants: Sequence[Plant], posts: Sequence[list[ScoredPost]]
) -> Iterator[tuple[Plant, int | None]]:
    """Play one entity's background once; at each plant a copy of the state goes its own way for three hours."""
    by_entity, out_of_orderness = found.recording.by_entity, found.config.out_of_orderness_ms
    host = TrendHost(operator, out_of_orderness)
    done_ms = 0
    for plant, planted in zip(plants, posts, strict=True):
        for post in by_entity.between(plant.entity, done_ms, plant.at_ms):
            host.on_post(post)
        done_ms = plant.at_ms
        branch = TrendHost(operator, out_of_orderness)
        branch.restore(host.snapshot())
        around = [*by_entity.between(plant.entity, plant.at_ms, plant.at_ms + HIT_MS), *planted]
        steps = [*branch.on_posts(sorted(around, key=lambda post: (post.event_time_ms, post.event_id))), branch.finish()]
        opened = [
            alert.event_time_ms - plant.at_ms
            for step in steps
            for alert in step.alerts
            if alert.status in ANNOUNCED and alert.rule in MOODS
        ]
        yield plant, min((delay for delay in opened if 0 < delay <= HIT_MS), default=None)


def table(found: Background, outcome: dict[Plant, int | None]) -> list[dict[str, Any]]:
    """Return a row per size, tier and type of hour."""
    cells: dict[tuple[int, str, str], list[int | None]] = {}
    for plant, delay in outcome.items():
        cells.setdefault((plant.k, plant.tier, plant.hours), []).append(delay)
    return [_row(found.rate, *key, cells[key]) for key in sorted(cells)]


def _row(rate: float, k: int, tier: str, hours: str, values: Sequence[int | None]) -> dict[str, Any]:
    hits = [delay / MINUTE_MS for delay in values if delay is not None]
    return {
        "false_alerts_per_entity_day": rate,
        "k": k,
        "tier": tier,
        "hours": hours,
        "plants": len(values),
        "recall": round(len(hits) / len(values), 4),
        "delay_p50_min": round(float(np.median(hits)), 1) if hits else None,
    }


def realised(found: Background) -> float:
    """Return the alerts per entity-day on the background alone."""
    first, last = found.recording.spans.test
    alerts = sum(first <= at_ms < last for times in found.spoken_ms.values() for at_ms in times)
    return alerts / (len(found.recording.by_entity.entities) * (last - first) / DAY_MS)


def measure(posts: Sequence[ScoredPost], options: argparse.Namespace) -> dict[str, Any]:
    """Return every number of the benchmark."""
    exchange = read_exchange(options.timezone, options.hours)
    recording = halves(posts)
    for note in recording.notes:
        print(note, file=sys.stderr)
    rows: list[dict[str, Any]] = []
    rates = {}
    for rate in options.rates:
        found = background(recording, rate, exchange)
        plants = choose_plants(found, options.sizes, options.plants, options.seed)
        rows += table(found, delays(found, plants, options.seed))
        rates[str(rate)] = round(realised(found), 6)
    return {"rows": rows, "realised_on_background": rates, "seed": options.seed, "posts": len(posts)}


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write recall against k, a panel per false-alert rate, a line per tier and type of hour."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rates = sorted({row["false_alerts_per_entity_day"] for row in rows})
    figure = Figure(figsize=(3.6 * len(rates), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, rate in zip(figure.subplots(1, len(rates), squeeze=False)[0], rates, strict=True):
        own = [row for row in rows if row["false_alerts_per_entity_day"] == rate]
        for tier, hours in sorted({(row["tier"], row["hours"]) for row in own}):
            line = [(row["k"], row["recall"]) for row in own if (row["tier"], row["hours"]) == (tier, hours)]
            axis.plot(*zip(*line, strict=True), marker="o", markersize=3, label=f"{tier}, {hours}")
        axis.set_title(f"{rate:g} false alerts per entity-day", fontsize=8)
        axis.set_xlabel("negative posts planted in an hour", fontsize=8)
        axis.set_ylim(0, 1.02)
        axis.legend(fontsize=6, frameon=False)
    figure.savefig(path, dpi=100)


def check_picture(path: Path) -> None:
    """Find out before minutes of work, not behind them, that the picture could not be written."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigurationError(f"--picture {path} cannot be written; name a file in a folder that can")


def whole(text: str, least: int = 1) -> int:
    """Return a whole number from ``least`` on, of an option."""
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} on")
    return int(text)


def a_rate(text: str) -> float:
    """Return a number in (0, 1], of an option."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} does not lie in (0, 1]; write false alerts per entity-day, like 0.005")
    return rate


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=Path, required=True, help="scored posts, or raw ones, in event-time order")
    parser.add_argument("--sizes", type=whole, nargs="+", default=SIZES, metavar="K")
    parser.add_argument("--rates", type=a_rate, nargs="+", default=RATES, help="false alerts per entity-day")
    parser.add_argument("--plants", type=whole, default=40, help="per size, tier and type of hour")
    parser.add_argument("--timezone", default=NEW_YORK.timezone, help="of the exchange: for the weekly season and market hours")
    parser.add_argument("--hours", default=HOURS, help="when it trades")
    parser.add_argument("--seed", type=partial(whole, least=0), default=7)
    parser.add_argument("--encoder", type=EncoderChoice, default=EncoderChoice.TRANSFORMER, help="for raw posts")
    parser.add_argument("--picture", type=Path, help="write the curves to this PNG")
    parser.add_argument("--json", action="store_true", help="print one JSON object, and the lines to stderr")
    options = parser.parse_args(arguments)
    if options.picture is not None:
        check_picture(options.picture)
    posts = list(read_posts(options.posts, scoring_for(settings_module.load(), None, options.encoder, given=True)))
    result = measure(posts, options)
    for row in result["rows"]:
        rate, delay = row["false_alerts_per_entity_day"], row["delay_p50_min"]
        line = (
            f"{rate:<7g} +{row['k']:<3} {row['tier']:<7} {row['hours']:<7} recall {row['recall']:.3f}  median delay {delay} min"
        )
        print(line, file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps(result))
    if options.picture is not None:
        draw(result["rows"], options.picture)


if __name__ == "__main__":
    command.run(main)
