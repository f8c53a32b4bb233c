"""Posts spread over processes by entity: entities are judged independently of each other, so each process judges its own.

What the processes say is merged by time and entity, so their number changes no byte.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from functools import partial
from heapq import merge
from typing import Any, Final

from pipeline.backtest.prepared import Mentions, Posts, PreparedPosts, Told, Verdict, in_order, mentions_of
from pipeline.backtest.volumes import Volume
from pipeline.core.detector_config import DetectorConfig
from pipeline.events import ScoredPost
from pipeline.pool import pool
from pipeline.times import AFTER_ALL_MS

LEAST_POSTS: Final = 5_000  # fewer are judged sooner than handed over

Prepare = Callable[[Iterable[ScoredPost]], Posts]

_own: PreparedPosts | None = None  # in a process of its own: what it keeps from call to call


def prepare_here(posts: Iterable[ScoredPost]) -> Posts:
    """Return the posts ready to be judged in this process."""
    return PreparedPosts(mentions_of(posts))


@contextmanager
def preparing(processes: int) -> Iterator[Prepare]:
    """Yield what prepares posts for that many processes; they start at once, so that they are ready when the posts are read."""
    if processes == 1:
        yield prepare_here
        return
    with ExitStack() as stack:
        workers = [stack.enter_context(pool(1, _keep, {})) for _ in range(processes)]
        for worker in workers:
            worker.submit(_keep, {})  # the first call starts the process
        yield partial(_spread, workers=workers)


def _spread(posts: Iterable[ScoredPost], workers: Sequence[Executor]) -> Posts:
    mentions = mentions_of(posts)
    few = sum(map(len, mentions.values())) < LEAST_POSTS
    return PreparedPosts(mentions) if few else ShardedPosts(mentions, workers)


class ShardedPosts:
    """``Posts`` whose entities are spread over processes, about as many posts to each."""

    def __init__(self, mentions: Mentions, workers: Sequence[Executor]) -> None:
        self._workers = workers
        parts = shares(mentions, len(workers))
        self._kept = [worker.submit(_keep, part) for worker, part in zip(workers, parts, strict=True)]

    def volumes(self, span: tuple[int, int], config: DetectorConfig) -> dict[str, Volume]:
        """See ``Posts``."""
        found = self._all("volumes", span, config)
        return dict(sorted(item for own in found for item in own.items()))

    def judge(self, config: DetectorConfig, until_ms: int = AFTER_ALL_MS) -> Verdict:
        """See ``Posts``."""
        found = self._all("judge", config, until_ms)
        scores = dict(sorted(item for own in found for item in own.scores.items()))
        return Verdict(tuple(merge(*(own.alerts for own in found), key=in_order)), scores)

    def tell(self, config: DetectorConfig) -> Told:
        """See ``Posts``."""
        found = self._all("tell", config)
        return Told(
            tuple(merge(*(own.alerts for own in found), key=in_order)),
            tuple(sorted(trend for own in found for trend in own.trends)),
        )

    def _all(self, name: str, *arguments: Any) -> list[Any]:
        waiting = [worker.submit(_call, name, arguments) for worker in self._workers]
        for kept in self._kept:
            kept.result()
        return [each.result() for each in waiting]


def shares(mentions: Mentions, count: int) -> list[Mentions]:
    """Return ``count`` parts of about equally many posts: the most talked about first, each to the smallest part so far."""
    parts: list[Mentions] = [{} for _ in range(count)]
    posts = [0] * count
    for entity in sorted(mentions, key=lambda entity: (-len(mentions[entity]), entity)):
        smallest = posts.index(min(posts))
        parts[smallest][entity] = mentions[entity]
        posts[smallest] += len(mentions[entity])
    return parts


def _keep(mentions: Mentions) -> None:
    global _own
    _own = PreparedPosts(mentions)
    gc.freeze()  # all of it stays to the end: the collector need not look through it again and again


def _call(name: str, arguments: tuple[Any, ...]) -> Any:
    return getattr(_own, name)(*arguments)
