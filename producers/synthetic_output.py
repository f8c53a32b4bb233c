"""Where the synthetic world goes: a file of posts, the truth beside it, or Kafka."""

import gzip
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from threading import Event

from pipeline.adapters.files import published_file
from pipeline.adapters.json_lines import write_lines
from pipeline.adapters.streams import Sink
from pipeline.topics import topic_of
from producers.pace import Pace
from producers.publish import FLUSH_RECORDS
from producers.synthetic import SyntheticConfig, posts, stream, truth


def write_posts(path: Path, config: SyntheticConfig) -> int:
    """Write the posts in their wire form, one JSON object a line; return how many."""
    count = 0
    with (
        published_file(path) as scratch,
        scratch.open("wb") as raw,
        # without name and time in its header, equal posts give equal files
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw as file,
    ):
        for post in posts(config):
            file.write(post.to_json() + b"\n")
            count += 1
    return count


def write_truth(path: Path, config: SyntheticConfig) -> None:
    """Write what is planted, one JSON object a line: entity, kind, from_ms, to_ms."""
    write_lines(path, (json.dumps(asdict(planted)).encode() for planted in truth(config)))


@dataclass(frozen=True, slots=True)
class Track:
    """Where a run stands: ``done`` events were durable before it; ``durable`` hears how many are now, ``at`` each event time."""

    done: int = 0
    durable: Callable[[int], None] = lambda _: None
    at: Callable[[int], None] = lambda _: None


def send(config: SyntheticConfig, sink: Sink, prefix: str, speed: float | None, stop: Event, track: Track = Track()) -> int:
    """Send posts and behaviour events, paced by event time over ``speed`` (None: at once); return how many are durable.

    The world is the same every time, so a run that goes on leaves out the ``track.done`` events that came before.
    """
    pace, sent = Pace(speed, stop, sink.flush), track.done
    for event in islice(stream(config), track.done, None):
        if not pace.wait_until_due(event.event_time_ms):
            break
        topic = topic_of(event)
        sink.write(topic.full_name(prefix), topic.key_of(event), event.to_json(), event.event_time_ms)
        sent += 1
        track.at(event.event_time_ms)
        if sent % FLUSH_RECORDS == 0:
            sink.flush()
            track.durable(sent)
    sink.flush()
    track.durable(sent)
    return sent - track.done
