"""Raw posts through the worker in several processes, each with its own encoder: turns in, scored turns out, in their order.

An answer depends on its text alone, and a turn on no other turn, so the number of processes changes no score.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from time import monotonic

from pipeline.events import SocialPost
from pipeline.inprocess import ScoredTurn, score_turn, turns
from pipeline.pool import AHEAD, in_order, pool
from pipeline.settings import Settings
from workers.encoder import Encoder
from workers.rules import Clock


@dataclass(frozen=True)
class _Scorer:
    encoder: Encoder
    settings: Settings

    def score(self, posts: Sequence[SocialPost]) -> ScoredTurn:
        """Score one turn by its own clock, which stands at its newest post: a recording is scored alike on any day."""
        newest_ms = max(post.event_time_ms for post in posts)
        return score_turn(posts, self.encoder, self.settings, Clock(lambda: newest_ms, monotonic))


_scorer: _Scorer | None = None


def scored_turns(
    posts: Iterable[SocialPost], make_encoder: Callable[[], Encoder], settings: Settings, processes: Callable[[], int]
) -> Iterator[ScoredTurn]:
    """Yield what the worker makes of the posts, turn by turn. ``make_encoder`` must be picklable for several processes."""
    rest = turns(posts)
    first = list(islice(rest, 2))
    if not first:
        return
    many = processes() if len(first) > 1 else 1
    if many == 1:
        yield from map(_Scorer(make_encoder(), settings).score, chain(first, rest))
        return
    with pool(many, _begin, make_encoder, settings) as executor:
        yield from in_order(executor, _score, chain(first, rest), many * AHEAD)


def _begin(make_encoder: Callable[[], Encoder], settings: Settings) -> None:
    global _scorer
    _scorer = _Scorer(make_encoder(), settings)


def _score(posts: Sequence[SocialPost]) -> ScoredTurn:
    if _scorer is None:
        raise RuntimeError("the process was not initialised")
    return _scorer.score(posts)
