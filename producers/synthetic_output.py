"""Where the synthetic world goes: a file of posts, the truth beside it, or Kafka."""

import gzip
import json
from dataclasses import asdict
from pathlib import Path
from threading import Event
from time import monotonic

from pipeline.adapters.streams import Sink
from pipeline.events import SocialPost
from pipeline.topics import EVENTS, POSTS
from producers.synthetic import SyntheticConfig, posts, stream, truth

FLUSH_RECORDS = 5_000
LONG_WAIT_S = 1.0


def write_posts(path: Path, config: SyntheticConfig) -> int:
    """Write the posts in their wire form, one JSON object a line; return how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    # without a time in its header, equal posts give equal files
    with gzip.GzipFile(path, "wb", mtime=0) if path.suffix == ".gz" else path.open("wb") as file:
        for post in posts(config):
            file.write(post.to_json() + b"\n")
            count += 1
    return count


def write_truth(path: Path, config: SyntheticConfig) -> None:
    """Write what is planted, one JSON object a line: entity, kind, from_ms, to_ms."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(planted)) + "\n" for planted in truth(config)), "utf-8")


def send(config: SyntheticConfig, sink: Sink, prefix: str, speed: float | None, stop: Event) -> int:
    """Send posts and behaviour events, paced by event time over ``speed`` (None: at once); return how many are durable."""
    begin_s, sent = monotonic(), 0
    for event in stream(config):
        if speed is not None:
            delay_s = begin_s + (event.event_time_ms - config.start_ms) / 1_000 / speed - monotonic()
            if delay_s > LONG_WAIT_S:
                sink.flush()
            if delay_s > 0:
                stop.wait(delay_s)
        if stop.is_set():
            break
        topic, key = (POSTS, event.event_id) if isinstance(event, SocialPost) else (EVENTS, event.user_id)
        sink.write(topic.full_name(prefix), key.encode(), event.to_json(), event.event_time_ms)
        sent += 1
        if sent % FLUSH_RECORDS == 0:
            sink.flush()
    sink.flush()
    return sent
