"""The worker through real Kafka and Redis, against the bare encoder on the same texts.

Measured: posts/s and tokens/s end to end and bare, and their ratio; click events/s with cached item texts; event-to-profile
and event-to-alert latency at half load; memory of the worker's process. One process, as a worker is; producers write before
the clock starts, except for the latencies.

    python -m benchmarks.pipeline [--json] [--posts N] [--encoder fake]
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psutil

from benchmarks.latency import event_to_alert, event_to_profile
from benchmarks.machine import describe
from benchmarks.servers import servers
from benchmarks.texts import distinct_posts
from benchmarks.worker import worker_on
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.clock import wall_clock_ms
from pipeline.core.text import readable
from pipeline.events import Action, BehaviorEvent, SocialPost
from pipeline.settings import Settings
from pipeline.telemetry import Metrics
from pipeline.topics import topic_of
from workers.encoder import Encoder
from workers.encoding import Device
from workers.hosting import load_encoder
from workers.result_cache import ResultCache
from workers.rules import WorkerRules
from workers.worker import Worker

ITEM_TEXTS = 200
CLICK_USERS = 2_000


@dataclass(frozen=True, slots=True)
class Rate:
    """How much went through in how long."""

    records: int
    tokens: int
    seconds: float

    def as_dict(self) -> dict[str, float]:
        """Return records/s and tokens/s."""
        return {
            "records": self.records,
            "seconds": round(self.seconds, 2),
            "records_per_s": round(self.records / self.seconds, 1),
            "tokens_per_s": round(self.tokens / self.seconds, 1),
        }


def bare(encoder: Encoder, posts: Sequence[SocialPost], rules: WorkerRules) -> Rate:
    """Encode the texts in a loop: the same tokens in the same batches, no Kafka, no Redis."""
    metrics = Metrics()
    device = Device(encoder, ResultCache(0, encoder.revision), rules.limits, metrics)
    texts = [readable(post.text) for post in posts]
    started = time.perf_counter()
    for at in range(0, len(texts), rules.max_poll_records):
        part = texts[at : at + rules.max_poll_records]
        device.encode({str(at + i).encode(): tokens for i, tokens in enumerate(encoder.tokenize(part))})
    return Rate(len(texts), _tokens(metrics), time.perf_counter() - started)


def end_to_end(encoder: Encoder, records: Sequence[SocialPost | BehaviorEvent], settings: Settings) -> Rate:
    """Write all records, then let one worker take them through Kafka and Redis; the clock runs until the last commit."""
    with worker_on(settings, encoder) as (worker, metrics):
        publish(records[:1], settings)
        _work_until(worker, 1)  # the group is joined and everything is warm before the clock starts
        publish(records[1:], settings)
        before = _tokens(metrics)
        started = time.perf_counter()
        _work_until(worker, len(records))
        worker.drain()
        seconds = time.perf_counter() - started
    return Rate(len(records) - 1, _tokens(metrics) - before, seconds)


def publish(records: Sequence[SocialPost | BehaviorEvent], settings: Settings) -> None:
    """Write records to their topics."""
    prefix = settings.kafka.topic_prefix
    with closing(KafkaSink(settings.kafka)) as sink:
        for record in records:
            topic = topic_of(record)
            sink.write(topic.full_name(prefix), topic.key_of(record), record.to_json(), record.event_time_ms)


def clicks(count: int, start_ms: int, distinct: int = ITEM_TEXTS) -> list[BehaviorEvent]:
    """Return click events whose item texts repeat, as a catalogue's do."""
    return [
        BehaviorEvent(
            event_id=f"click-{start_ms}-{n}",
            event_time_ms=start_ms + n,
            user_id=f"user-{n * 7919 % CLICK_USERS}",
            action=Action.CLICK,
            item_id=f"item-{n % distinct}",
            item_text=f"item number {n % distinct} of the catalogue",
        )
        for n in range(count)
    ]


def _work_until(worker: Worker, scored: int) -> None:
    while worker.totals.scored + worker.totals.dead_letters < scored:
        worker.step()


def _tokens(metrics: Metrics) -> int:
    return int(metrics.registry.get_sample_value("groundswell_tokens_total") or 0)


def _split(posts: list[SocialPost], at: int) -> tuple[list[SocialPost], list[SocialPost]]:
    return posts[:at], posts[at:]


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return every figure of this benchmark."""
    with servers() as settings:
        encoder = load_encoder(options.encoder, settings)
        rules = WorkerRules.from_settings(settings)
        posts, later = _split(distinct_posts(options.posts + 1 + options.latency_posts, settings.data), options.posts + 1)
        now_ms = wall_clock_ms()
        alone = bare(encoder, posts[: options.posts // 4], rules)  # warm
        alone = bare(encoder, posts, rules)
        through = end_to_end(encoder, posts, settings)
        again = bare(encoder, posts, rules)
        alone = min(alone, again, key=lambda rate: rate.seconds)
        warm = clicks(ITEM_TEXTS, now_ms - 10_000_000)
        clicked = end_to_end(encoder, [*warm, *clicks(options.clicks, now_ms - 5_000_000)], settings)
        half_load = 0.5 * through.records / through.seconds
        return {
            "benchmark": "pipeline",
            "machine": describe(),
            "encoder": {"model": encoder.model, "revision": encoder.revision},
            "bare_encoder": alone.as_dict(),
            "through_kafka_and_redis": through.as_dict(),
            "ratio_to_bare": round((through.records / through.seconds) / (alone.records / alone.seconds), 3),
            "clicks_with_cached_texts": clicked.as_dict(),
            "event_to_profile": event_to_profile(encoder, later, settings, half_load),
            "event_to_alert": event_to_alert(encoder, settings, options.alerts),
            "worker_rss_mb": round(psutil.Process(os.getpid()).memory_info().rss / 2**20),
        }


def main() -> None:
    """Measure and print; one JSON object last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print the JSON object alone")
    parser.add_argument("--posts", type=int, default=2_000)
    parser.add_argument("--clicks", type=int, default=20_000)
    parser.add_argument("--latency-posts", type=int, default=500)
    parser.add_argument("--alerts", type=int, default=20)
    parser.add_argument("--encoder", choices=("transformer", "fake"), default="transformer")
    options = parser.parse_args()
    figures = measure(options)
    if not options.json:
        for name, value in figures.items():
            print(f"{name}: {value}")
    print(json.dumps(figures, ensure_ascii=False))


if __name__ == "__main__":
    main()
