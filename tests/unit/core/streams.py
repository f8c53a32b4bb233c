"""Scored posts for the tests of the detector: a quiet background, a mood shift, a flood."""

import random
from collections.abc import Sequence

from pipeline.core.clusters import Clusters
from pipeline.core.panes import PaneRules, mention_of, summarise
from pipeline.core.trends import PANE_MS
from pipeline.core.windows import PaneHistory
from pipeline.events import ScoredPost, Sentiment

START_MS = 1_700_000_000_000 // PANE_MS * PANE_MS
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
RULES = PaneRules(30 * DAY_MS, 2 * MINUTE_MS, 2)


def scored_post(event_id: str, time_ms: int, negative: float = 0.1, **changes: object) -> ScoredPost:
    """Return a post of entity A with a content of its own."""
    values: dict[str, object] = {
        "event_id": event_id,
        "event_time_ms": time_ms,
        "entity": "A",
        "author_id": f"author-{event_id}",
        "text": f"text {event_id}",
        "sentiment": Sentiment(negative=negative, neutral=0.0, positive=round(1.0 - negative, 4)),
        "simhash": f"{random.Random(event_id).getrandbits(64):016x}",
        "model": "m",
        "model_revision": "1",
    }
    return ScoredPost.model_validate(values | changes)


def background(entity: str, days: float, posts_per_day: float, seed: int, start_ms: int = START_MS) -> list[ScoredPost]:
    """Return posts at random times, a fifth of them negative."""
    rng = random.Random(f"{entity}{seed}")
    posts: list[ScoredPost] = []
    time_ms = start_ms
    while True:
        time_ms += max(1, int(rng.expovariate(posts_per_day / DAY_MS)))
        if time_ms >= start_ms + days * DAY_MS:
            return posts
        negative = 0.9 if rng.random() < 0.2 else 0.05
        posts.append(scored_post(f"{entity}-{seed}-{len(posts)}", time_ms, negative, entity=entity))


def shift(entity: str, start_ms: int, count: int, every_ms: int = 4 * MINUTE_MS) -> list[ScoredPost]:
    """Return many different negative posts in a row: a real mood shift."""
    return [scored_post(f"{entity}-shift-{i}", start_ms + i * every_ms, 0.95, entity=entity) for i in range(count)]


def market_drop(names: Sequence[str], start_ms: int, each: int = 2) -> list[ScoredPost]:
    """Return some different negative posts about each of these within 40 minutes."""
    rng = random.Random(7)
    return [
        scored_post(f"drop-{name}-{n}", start_ms + rng.randrange(40 * MINUTE_MS), 0.95, entity=name)
        for name in names
        for n in range(each)
    ]


def flood(entity: str, start_ms: int, count: int, every_ms: int = 20_000) -> list[ScoredPost]:
    """Return one text, again and again from different authors, with one bit changed now and then."""
    return [
        scored_post(f"{entity}-flood-{i}", start_ms + i * every_ms, 0.95, entity=entity, simhash=f"{0xABCDEF ^ (i % 2):016x}")
        for i in range(count)
    ]


def delayed(posts: list[ScoredPost], within_ms: int, seed: int) -> list[ScoredPost]:
    """Delay each post by up to ``within_ms``: so no post comes behind one that is younger by more than that."""
    rng = random.Random(seed)
    return [post for _, _, post in sorted((p.event_time_ms + rng.randrange(within_ms), i, p) for i, p in enumerate(posts))]


def history(posts: list[ScoredPost]) -> PaneHistory:
    """Return the panes of one entity's posts, as its operator would have summed them up."""
    result, clusters = PaneHistory(), Clusters(DAY_MS, 1_000)
    for start in sorted({post.event_time_ms // PANE_MS * PANE_MS for post in posts}):
        own = [mention_of(post) for post in posts if start <= post.event_time_ms < start + PANE_MS]
        result.append(summarise(start, own, clusters, result.totals, RULES))
    return result


def in_order(*parts: list[ScoredPost]) -> list[ScoredPost]:
    """Return all posts in event-time order."""
    return sorted((post for part in parts for post in part), key=lambda post: (post.event_time_ms, post.event_id))


def eventful(days: float = 12) -> list[ScoredPost]:
    """Return two entities with a mood shift and a flood towards the end."""
    late = START_MS + int(days * DAY_MS)
    return in_order(
        background("A", days + 1, 30, 1),
        background("B", days + 1, 10, 2),
        shift("A", late + 7 * HOUR_MS, 16),
        flood("B", late + 9 * HOUR_MS, 60),
    )
