"""From the write of an event to its durable effect: the profile in Redis, and the alert in Kafka."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from hashlib import blake2b
from typing import Any

from benchmarks.machine import quantile
from benchmarks.worker import redis_store, worker_on
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.kafka_source import KafkaSource
from pipeline.adapters.stores import Applied, Outcomes, ProfileSpec, ProfileStore, Progress, Update
from pipeline.adapters.streams import TopicPartition
from pipeline.clock import wall_clock_ms
from pipeline.core.rolling import Profile
from pipeline.core.spikes import make_operator
from pipeline.core.trends import PANE_MS
from pipeline.events import ScoredPost, Sentiment, SocialPost
from pipeline.jobs.detector import detector_config
from pipeline.jobs.trends import TrendHost
from pipeline.settings import Settings
from workers.encoder import Encoder
from workers.worker import Worker

HISTORY_PANES = 600
SPIKE_POSTS = 40


class WatchedStore:
    """A profile store that notes when the event of an update became durable."""

    def __init__(self, inner: ProfileStore) -> None:
        self._inner = inner
        self.durable_at: dict[str, float] = {}

    def apply(self, updates: Sequence[Update], spec: ProfileSpec) -> Applied:
        """Apply, and note the time of each event."""
        applied = self._inner.apply(updates, spec)
        now = time.perf_counter()
        self.durable_at |= {update.event.event_id: now for update in updates}
        return applied

    def get(self, user_id: str) -> Profile | None:
        """See ``ProfileStore.get``."""
        return self._inner.get(user_id)

    def forget(self, user_id: str, now_ms: int) -> bool:
        """See ``ProfileStore.forget``."""
        return self._inner.forget(user_id, now_ms)

    def progress(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Progress]:
        """See ``ProfileStore.progress``."""
        return self._inner.progress(partitions)

    def advance(self, outcomes: Mapping[TopicPartition, Outcomes]) -> None:
        """See ``ProfileStore.advance``."""
        self._inner.advance(outcomes)


def event_to_profile(encoder: Encoder, posts: Sequence[SocialPost], settings: Settings, per_s: float) -> dict[str, Any]:
    """Write posts at ``per_s`` while one worker runs; return the times from write to durable profile."""
    written_at: dict[str, float] = {}
    with redis_store(settings) as inner:
        store = WatchedStore(inner)
        with worker_on(settings, encoder, store) as (worker, _), closing(KafkaSink(settings.kafka)) as sink:
            topic = f"{settings.kafka.topic_prefix}posts"
            _join(worker, sink, topic, posts[0], store)
            started = time.perf_counter()
            for number, post in enumerate(posts[1:]):
                while time.perf_counter() < started + number / per_s:
                    worker.step()
                written_at[post.event_id] = time.perf_counter()
                sink.write(topic, post.event_id.encode(), post.to_json(), post.event_time_ms)
            while not written_at.keys() <= store.durable_at.keys():
                worker.step()
            worker.drain()
    times = [store.durable_at[event_id] - at for event_id, at in written_at.items()]
    return {"posts": len(times), "load_per_s": round(per_s, 1), **_quantiles(times)}


def event_to_alert(encoder: Encoder, settings: Settings, count: int) -> dict[str, Any]:
    """Return the time from the write of the scored post that closes a pane to the alert in Kafka, for planted spikes.

    Event time decides when a pane may close (its end and the out-of-orderness); this is what the software adds to it.
    """
    trends = settings.trends
    host = TrendHost(make_operator(detector_config(trends)), trends.out_of_orderness_ms)
    prefix = settings.kafka.topic_prefix
    start_ms = (wall_clock_ms() // PANE_MS - HISTORY_PANES - 12) * PANE_MS
    times: list[float] = []
    source = KafkaSource(settings.kafka, "bench-alerts", [f"{prefix}scored"])
    with closing(source), closing(KafkaSink(settings.kafka)) as sink:
        _drain(source)
        for number in range(count):
            entity = f"entity-{number}"
            for post in _history(entity, start_ms, encoder):
                host.on_post(post)
            closing_post = _post(entity, f"{entity}-close", start_ms + (HISTORY_PANES + 6) * PANE_MS, 0.1, encoder)
            written = time.perf_counter()
            sink.write(f"{prefix}scored", entity.encode(), closing_post.to_json(), closing_post.event_time_ms)
            sink.flush()
            if _alert_out(source, sink, host, entity, f"{prefix}alerts"):
                times.append(time.perf_counter() - written)
            host = TrendHost(make_operator(detector_config(trends)), trends.out_of_orderness_ms)
    return {"planted": count, "alerted": len(times), **_quantiles(times)}


def _join(worker: Worker, sink: KafkaSink, topic: str, post: SocialPost, store: WatchedStore) -> None:
    sink.write(topic, post.event_id.encode(), post.to_json(), post.event_time_ms)
    while post.event_id not in store.durable_at:
        worker.step()


def _drain(source: KafkaSource) -> None:
    """Join the group and read what earlier parts left behind."""
    source.poll(1, 5_000)
    while sum(source.lag().values()) > 0:
        source.poll(100_000, 200)


def _alert_out(source: KafkaSource, sink: KafkaSink, host: TrendHost[Any], entity: str, topic: str) -> bool:
    found = False
    waiting = True
    while waiting:
        for record in source.poll(1_000, 200):
            step = host.on_post(ScoredPost.model_validate_json(record.value))
            for alert in step.alerts:
                sink.write(topic, entity.encode(), alert.to_json(), alert.event_time_ms)
                found = True
            waiting = waiting and record.key != entity.encode()
    sink.flush()
    return found


def _history(entity: str, start_ms: int, encoder: Encoder) -> list[ScoredPost]:
    quiet = [_post(entity, f"{entity}-q{n}", start_ms + 3 * n * PANE_MS, 0.1, encoder) for n in range(HISTORY_PANES // 3)]
    spike_ms = start_ms + (HISTORY_PANES + 1) * PANE_MS
    return quiet + [_post(entity, f"{entity}-s{n}", spike_ms + n * 1_000, 0.95, encoder) for n in range(SPIKE_POSTS)]


def _post(entity: str, event_id: str, event_time_ms: int, negative: float, encoder: Encoder) -> ScoredPost:
    return ScoredPost(
        event_id=event_id,
        event_time_ms=event_time_ms,
        entity=entity,
        author_id=f"author-{event_id}",
        text=f"text {event_id}",
        sentiment=Sentiment(negative=negative, neutral=round(1 - negative, 2), positive=0.0),
        simhash=blake2b(event_id.encode(), digest_size=8).hexdigest(),
        model=encoder.model,
        model_revision=encoder.revision,
    )


def _quantiles(times: list[float]) -> dict[str, float | None]:
    if not times:
        return {"p50_ms": None, "p99_ms": None}
    return {"p50_ms": round(1000 * quantile(times, 0.5), 1), "p99_ms": round(1000 * quantile(times, 0.99), 1)}
