"""Synthetic scored posts for the trend benchmarks: random times, a few copies, volumes that fall off as 1 / rank."""

import random

from pipeline.events import ScoredPost, Sentiment
from pipeline.times import DAY_MS

START_MS = 1_704_067_200_000


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
            author_id=f"a{rng.randrange(max(1, posts // 4))}",
            text="a text of about the usual length, which nobody reads, but which takes room in the state",
            sentiment=moods[min(20, int(rng.expovariate(0.25)))],
            simhash=fingerprints[i if rng.random() > 0.1 else rng.randrange(i + 1)],
            model="benchmark",
            model_revision="1",
        )
        for i, (name, time_ms) in enumerate(zip(names, times, strict=True))
    ]
