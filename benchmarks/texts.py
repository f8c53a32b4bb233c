"""Posts for load: recorded ones where the data folder stands, else synthetic ones; every text once."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from pipeline.adapters.json_lines import read_objects
from pipeline.core.text import readable
from pipeline.events import SocialPost
from producers import synthetic

RECORDED = Path("streams") / "stocknet_2014.jsonl.gz"


def distinct_posts(count: int, data: Path) -> list[SocialPost]:
    """Return ``count`` posts whose texts all differ as an encoder reads them. Raises ValueError where there are not so many."""
    posts = list(islice(_distinct(_posts(count, data)), count))
    if len(posts) < count:
        raise ValueError(f"only {len(posts)} distinct texts of the {count} asked for; ask for fewer")
    return posts


def _distinct(posts: Iterator[SocialPost]) -> Iterator[SocialPost]:
    seen: set[str] = set()
    for post in posts:
        text = readable(post.text)
        if text and text not in seen:
            seen.add(text)
            yield post


def _posts(count: int, data: Path) -> Iterator[SocialPost]:
    path = data / RECORDED
    if not path.is_file():
        yield from synthetic.posts(synthetic.SyntheticConfig(seed=7, posts=20 * count))
        return
    for _, row in read_objects(path):
        yield SocialPost(
            **{name: row[name] for name in ("event_id", "event_time_ms", "author_id", "text")}, entities=(row["entity"],)
        )
