"""Plant market-wide drops into a real background and see which are found: ``python -m benchmarks.market --posts FILE --json``.

The first half of the recording fits the detector, the second half is the background. At each of a number of moments within
market hours, at which no market has had an alert for a day, ``each`` different negative posts about each of ``members``
entities are spread over one hour, made as in ``benchmarks.injection``. Drawn are entities that five people at least said
something about in the 14 days before; a list of names says nothing. A drop is found when an alert about a market opens or
escalates within two hours of its beginning. Counted beside it: the spike alerts of planted members within three hours, and of
these those that the market's alert names without saying that they stand out beyond it.
The background is played once; every drop goes on from a copy of what is known at its moment, so none changes another's.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import command
from benchmarks.injection import (
    ANNOUNCED,
    ANY,
    HIT_MS,
    NEGATIVE,
    Background,
    Plant,
    a_rate,
    background,
    halves,
    planted_posts,
    whole,
)
from pipeline import settings as settings_module
from pipeline.backtest.exchange import HOURS, NEW_YORK, read_exchange
from pipeline.backtest.market import market_alerts, said
from pipeline.commands.options import EncoderChoice
from pipeline.commands.replay import scoring_for
from pipeline.core.shown import utc
from pipeline.core.text import is_list
from pipeline.core.trends import post_order
from pipeline.errors import ConfigurationError
from pipeline.events import Alert, Rule, ScoredPost
from pipeline.jobs.trends import make_host
from pipeline.replay.raw import read_posts
from pipeline.times import DAY_MS, HOUR_MS, MINUTE_MS

FOUND_MS = 2 * HOUR_MS
TALKED_OF_MS, TALKERS = 14 * DAY_MS, 5
DROPS = ((4, 2), (8, 1), (8, 2), (13, 2), (21, 1), (21, 2), (42, 1))


@dataclass(frozen=True)
class Drop:
    """``each`` posts about each of ``members`` within the hour from ``at_ms``."""

    at_ms: int
    members: tuple[str, ...]
    each: int


@dataclass(frozen=True)
class Outcome:
    """What a drop led to: milliseconds until a market's alert, None where there was none; alerts of planted members."""

    delay_ms: int | None
    spikes: int
    explained: int


def choose_moments(found: Background, market_spoke_ms: Sequence[int], count: int, rng: np.random.Generator) -> list[int]:
    """Return moments in market hours of the second half, ascending, at which no market has spoken for a day."""
    first, last = found.recording.spans.test
    chosen: list[int] = []
    for at_ms in rng.integers(first, last - HIT_MS, size=400 * count).tolist():
        if found.exchange.is_open(at_ms) and all(not -HIT_MS < at_ms - spoke_ms < DAY_MS for spoke_ms in market_spoke_ms):
            chosen.append(at_ms)
        if len(chosen) == count:
            break
    return sorted(chosen)


def choose_drops(found: Background, moments: Sequence[int], sizes: Sequence[tuple[int, int]], seed: int) -> list[list[Drop]]:
    """Return the drops of each moment, one of each size that there are entities for; the small ones are within the large ones."""
    drops = []
    for at_ms in moments:
        talked_of = [name for name in found.recording.by_entity.entities if len(talkers(found, name, at_ms)) >= TALKERS]
        shuffled = np.random.default_rng([seed, at_ms % 2**31]).permutation(len(talked_of))
        names = [talked_of[place] for place in shuffled]
        drops.append([Drop(at_ms, tuple(names[:members]), each) for members, each in sizes if members <= len(names)])
    if not any(drops):
        least = min(members for members, _ in sizes)
        words = f"{TALKERS} people speak of fewer than {least} entities at every moment"
        raise ConfigurationError(f"{words}; give more posts or smaller --sizes")
    return [of_moment for of_moment in drops if of_moment]


def talkers(found: Background, entity: str, at_ms: int) -> set[str]:
    """Return who said something about the entity in the time before; a list of names says nothing about any."""
    said_before = found.recording.by_entity.between(entity, at_ms - TALKED_OF_MS, at_ms)
    return {post.author_id for post in said_before if not is_list(post.text, found.config.most_names)}


def posts_of(drop: Drop, negatives: Sequence[ScoredPost], seed: int) -> list[ScoredPost]:
    """Return the posts of a drop, each with a text and an author of its own. Equal seeds give equal posts."""
    posts = []
    for place, member in enumerate(drop.members):
        plant = Plant(member, drop.at_ms, drop.each, ANY, ANY)
        for post in planted_posts(plant, negatives, seed + place):
            own = f"{post.event_id}-{place}"
            posts.append(post.model_copy(update={"event_id": own, "author_id": own}))
    return posts


def outcomes(found: Background, drops: Sequence[Sequence[Drop]], seed: int) -> Iterator[tuple[Drop, Outcome]]:
    """Play the background once; at each moment a copy of all state goes its own way for three hours with each drop."""
    posts, train_end = found.recording.posts, found.recording.spans.train[1]
    negatives = [post for post in posts if post.event_time_ms < train_end and post.sentiment.negative >= NEGATIVE]
    if not negatives:
        raise ConfigurationError(f"no post before {utc(train_end)} is negative (probability of at least {NEGATIVE}); give more")
    host, done = make_host(found.config), 0
    times = [post.event_time_ms for post in posts]
    for of_moment in drops:
        at_ms = of_moment[0].at_ms
        here, after = np.searchsorted(times, (at_ms, at_ms + HIT_MS))
        for post in posts[done:here]:
            host.on_post(post)
        done, known = int(here), host.snapshot()
        for drop in of_moment:
            branch = make_host(found.config)
            branch.restore(known)
            ahead = sorted([*posts[here:after], *posts_of(drop, negatives, seed)], key=post_order)
            yield drop, _judged(drop, list(said(branch, ahead)))


def _judged(drop: Drop, alerts: Sequence[Alert]) -> Outcome:
    market = [alert for alert in alerts if alert.rule is Rule.MARKET_WIDE]
    delays = [alert.event_time_ms - drop.at_ms for alert in market if alert.status in ANNOUNCED]
    named = {member.entity for alert in market if alert.market for member in alert.market.members if not member.own}
    spikes = [
        alert.entity
        for alert in alerts
        if alert.rule is Rule.NEGATIVE_SPIKE
        and alert.status is ANNOUNCED[0]
        and alert.entity in drop.members
        and 0 < alert.event_time_ms - drop.at_ms <= HIT_MS
    ]
    hit = min((delay for delay in delays if 0 < delay <= FOUND_MS), default=None)
    return Outcome(hit, len(spikes), sum(entity in named for entity in spikes))


def row(members: int, each: int, seen: Sequence[Outcome]) -> dict[str, Any]:
    """Return the numbers of one size."""
    hits = [outcome.delay_ms / MINUTE_MS for outcome in seen if outcome.delay_ms is not None]
    return {
        "members": members,
        "each": each,
        "drops": len(seen),
        "found": len(hits),
        "delay_p50_min": round(float(np.median(hits)), 1) if hits else None,
        "member_spikes": sum(outcome.spikes for outcome in seen),
        "explained": sum(outcome.explained for outcome in seen),
    }


def measure(posts: Sequence[ScoredPost], options: argparse.Namespace) -> dict[str, Any]:
    """Return every number of the benchmark; ``alerts_without_drops``: of markets, over the second half as it was."""
    found = background(halves(posts), options.rate, read_exchange(options.timezone, options.hours))
    spoke = market_alerts(found.recording.posts, found.config, found.recording.spans.test)
    if spoke is None:
        raise ConfigurationError("markets are off (GROUNDSWELL_TRENDS__MARKET = off); leave it at all or exchange")
    moments = choose_moments(
        found, [alert.opened.event_time_ms for alert in spoke], options.drops, np.random.default_rng(options.seed)
    )
    drops = choose_drops(found, moments, options.sizes, options.seed)
    by_size: dict[tuple[int, int], list[Outcome]] = {}
    for drop, outcome in outcomes(found, drops, options.seed):
        by_size.setdefault((len(drop.members), drop.each), []).append(outcome)
    rows = [row(*size, by_size[size]) for size in sorted(by_size)]
    return {"rows": rows, "alerts_without_drops": len(spoke), "rate": options.rate, "seed": options.seed, "posts": len(posts)}


def _size(text: str) -> tuple[int, int]:
    members, _, each = text.partition("x")
    if not (members.isdigit() and each.isdigit() and int(members) and int(each)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write MEMBERSxPOSTS, for example 8x2")
    return int(members), int(each)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--posts", type=Path, required=True, help="scored posts, or raw ones, in event-time order")
    parser.add_argument("--sizes", type=_size, nargs="+", default=DROPS, metavar="MEMBERSxPOSTS")
    parser.add_argument("--rate", type=a_rate, default=0.005, help="false alerts per entity-day")
    parser.add_argument("--drops", type=whole, default=36, help="of each size")
    parser.add_argument("--timezone", default=NEW_YORK.timezone, help="of the exchange: for the weekly season and market hours")
    parser.add_argument("--hours", default=HOURS, help="when it trades")
    parser.add_argument("--seed", type=partial(whole, least=0), default=7)
    parser.add_argument("--encoder", type=EncoderChoice, default=EncoderChoice.TRANSFORMER, help="for raw posts")
    parser.add_argument("--json", action="store_true", help="print one JSON object, and the lines to stderr")
    options = parser.parse_args(arguments)
    posts = list(read_posts(options.posts, scoring_for(settings_module.load(), None, options.encoder, given=True)))
    result = measure(posts, options)
    tell = partial(print, file=sys.stderr if options.json else sys.stdout)
    for each in result["rows"]:
        tell("  ".join(f"{name} {value}" for name, value in each.items()))
    tell(f"alerts of markets without drops: {result['alerts_without_drops']}")
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    command.run(main)
