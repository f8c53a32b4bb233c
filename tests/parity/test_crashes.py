"""A host like the Flink job, without Flink: folded whenever the watermark happens to come by, and killed at any moment.

What it told before it died stands, its state goes back to the last checkpoint, and the posts since then come again.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from pipeline.core.detector_config import DetectorConfig
from pipeline.core.fold import Arrival, Held, decode_held, encode_held, fold
from pipeline.core.spikes import make_operator
from pipeline.events import ScoredPost
from pipeline.times import BEFORE_ALL_MS
from tests.parity.flink_lab import settled
from tests.parity.flink_runs import Told
from tests.unit.core.streams import eventful

CONFIG = DetectorConfig()
OPERATOR = make_operator(CONFIG)
POSTS = eventful(days=5)
END_MS = 2**61


@dataclass
class Buffering:
    """State as bytes and buffered arrivals by entity; ``newest_ms`` of each entity, and of all under the empty name."""

    held: dict[str, bytes] = field(default_factory=dict)
    waiting: dict[str, list[tuple[Arrival, ScoredPost]]] = field(default_factory=dict)
    newest_ms: dict[str, int] = field(default_factory=dict)
    taken: int = 0

    def copy(self) -> "Buffering":
        waiting = {entity: list(arrivals) for entity, arrivals in self.waiting.items()}
        return Buffering(dict(self.held), waiting, dict(self.newest_ms), self.taken)

    def take(self, post: ScoredPost) -> None:
        arrival = Arrival(post.event_time_ms, self.newest_ms.get(post.entity, BEFORE_ALL_MS), 0, self.taken, b"")
        self.waiting.setdefault(post.entity, []).append((arrival, post))
        for name in (post.entity, ""):
            self.newest_ms[name] = max(self.newest_ms.get(name, BEFORE_ALL_MS), post.event_time_ms)
        self.taken += 1

    def fold(self, until_ms: int, told: Told) -> None:
        for entity, arrivals in self.waiting.items():
            known = self.held.get(entity)
            held = Held(OPERATOR.new_state()) if known is None else decode_held(OPERATOR, known)
            ready = [each for each in arrivals if each[0].event_time_ms <= until_ms]
            step = fold(OPERATOR, held, ready, until_ms, CONFIG.out_of_orderness_ms)
            self.held[entity] = encode_held(OPERATOR, held)
            self.waiting[entity] = [each for each in arrivals if each[0].event_time_ms > until_ms]
            told.trends += step.trends
            told.alerts += step.alerts


def told_by_mortal_host(posts: Sequence[ScoredPost], rng: random.Random, deaths: int) -> tuple[Told, int]:
    host, told, checkpoint, died = Buffering(), Told(), Buffering(), 0
    while host.taken < len(posts):
        host.take(posts[host.taken])
        if rng.random() < 0.1:
            host.fold(host.newest_ms[""] - CONFIG.out_of_orderness_ms - 1, told)
        if rng.random() < 0.02:
            checkpoint = host.copy()
        if died < deaths and rng.random() < 0.02:
            host, died = checkpoint.copy(), died + 1
    host.fold(END_MS, told)
    return told, died


@pytest.mark.parametrize("seed", range(4))
def test_whenever_a_host_dies_what_holds_in_the_end_is_the_same(seed: int) -> None:
    """The posts come in any order within the watermark's bound."""
    rng = random.Random(seed)
    arrivals = sorted((post.event_time_ms + rng.randrange(CONFIG.out_of_orderness_ms), n) for n, post in enumerate(POSTS))
    told, died = told_by_mortal_host([POSTS[number] for _, number in arrivals], rng, deaths=6)
    undisturbed, _ = told_by_mortal_host(POSTS, rng, deaths=0)
    assert died > 1
    assert settled(told) == settled(undisturbed)
    assert len(told.trends) > len(undisturbed.trends), "a death was meant to make it tell things twice"
