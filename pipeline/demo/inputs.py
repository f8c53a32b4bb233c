"""What the demo feeds the pipeline: synthetic posts and clicks with a few bad records between them, or recorded posts.

Recorded posts are JSON lines, plain or gzip. A line is a SocialPost, or one with a single ``entity`` in place of
``entities`` (as the stocknet recordings have it), or anything that a mapping file turns into one. A line that cannot be
used is fed all the same: the worker makes a dead letter of it, and the accounting shows it.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from pipeline.adapters.json_lines import read_lines
from pipeline.contract import EARLIEST_MS, LATEST_MS
from pipeline.inprocess import Incoming
from pipeline.replay.raw import with_entities
from pipeline.topics import POSTS, Topic
from producers.mapping import FieldMapping
from producers.synthetic import SyntheticConfig, stream

BAD_RECORDS: Final = (
    b'{"event_id": "broken-1", "author_id": "demo", "text": "this line ends too ea',
    b'{"event_id": "broken-2", "author_id": "demo", "text": "seconds, not milliseconds", "event_time_ms": 1704067200}',
    b'{"event_id": "broken-3", "author_id": "demo", "text": "   ", "event_time_ms": 1704067200000}',
)
BAD_EVERY: Final = 400  # one bad record after this many good ones, until each has been fed

SYNTHETIC_POSTS: Final = 2_500
SYNTHETIC_USERS: Final = 20
SYNTHETIC_HOURS: Final = 168.0  # most of it goes into the baselines: what is planted comes in the second half

Values = dict[str, Any]


def synthetic_config(seed: int) -> SyntheticConfig:
    """Return the synthetic world of the demo: small enough for a minute of the real encoder on two slow cores."""
    return SyntheticConfig(seed=seed, posts=SYNTHETIC_POSTS, users=SYNTHETIC_USERS, hours=SYNTHETIC_HOURS, negative_spikes=2)


def synthetic(seed: int) -> Iterator[Incoming]:
    """Yield the records of the synthetic world, a few bad ones among them."""
    return with_bad_records(map(Incoming.of, stream(synthetic_config(seed))))


def with_bad_records(records: Iterable[Incoming]) -> Iterator[Incoming]:
    """Yield the records with a few between them that cannot be used, so that dead letters are seen."""
    bad = iter(BAD_RECORDS)
    for number, record in enumerate(records, 1):
        yield record
        if number % BAD_EVERY == 0:
            yield from (Incoming(POSTS.name, b"broken", value, record.timestamp_ms) for value in [next(bad, None)] if value)


def recorded(path: Path, mapping: FieldMapping | None = None) -> Iterator[Incoming]:
    """Yield the records of a file of JSON lines. Raises ConfigurationError for a file that cannot be read."""
    timestamp_ms = EARLIEST_MS
    topic, rule = (POSTS, with_entities) if mapping is None else (mapping.topic, mapping.apply)
    for _, line in read_lines(path):
        if line.strip():
            incoming = _record(line, timestamp_ms, topic, rule)
            timestamp_ms = incoming.timestamp_ms
            yield incoming


def begun(records: Iterable[Incoming]) -> Iterator[Incoming]:
    """Return the same records, the first of them read already: a file that cannot be read is known at once."""
    rest = iter(records)
    return chain(list(islice(rest, 1)), rest)


def _record(line: bytes, before_ms: int, topic: Topic, rule: Callable[[Values], Values]) -> Incoming:
    """Return the record of one line. A line without a usable time gets the time of the one before it."""
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        return Incoming(topic.name, b"unreadable", line.strip(), before_ms)
    fields = rule(values)
    at_ms = fields.get("event_time_ms")
    timestamp_ms = at_ms if isinstance(at_ms, int) and EARLIEST_MS <= at_ms < LATEST_MS else before_ms
    return Incoming(topic.name, str(fields.get(topic.key, "")).encode("utf-8", "replace"), _encode(fields), timestamp_ms)


def _encode(values: Values) -> bytes:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
