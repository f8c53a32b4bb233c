"""A whole worker on memory streams, for tests."""

import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.adapters.memory import MemoryBroker, MemorySink, MemorySource
from pipeline.adapters.stores import MemoryProfileStore
from pipeline.core.profile_bytes import encode
from pipeline.events import DeadLetter, ScoredPost
from pipeline.settings import Settings
from pipeline.telemetry import Metrics
from workers.encoder import Encoder, Encodings, TokenIds
from workers.entity_linking import EntityLinker
from workers.fake_encoder import FakeEncoder
from workers.rules import Clock, WorkerRules, system_clock
from workers.worker import Brain, Connections, Worker

NOW = 1_700_000_000_000
GROUP = "workers"


def rules(**changes: Any) -> WorkerRules:
    return replace(WorkerRules.from_settings(Settings()), **{"poll_timeout_ms": 0, "cache_bytes": 1_000_000} | changes)


def post(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": f"p{number}",
        "author_id": f"a{number % 5}",
        "text": f"post {number % 11} about $AAPL, a terrible crash",
        "event_time_ms": NOW - 100_000 + number,
    } | changes


def click(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "event_id": f"c{number}",
        "user_id": f"u{number % 7}",
        "action": "view",
        "item_id": f"i{number % 9}",
        "item_text": f"blue running shoes {number % 9}",
        "event_time_ms": NOW - 100_000 + number,
    } | changes


@dataclass
class Playground:
    """Streams, store and what came out. The broker and the store outlive a worker, as servers do."""

    broker: MemoryBroker = field(default_factory=lambda: MemoryBroker.with_table("groundswell."))
    store: MemoryProfileStore = field(default_factory=MemoryProfileStore)
    encoder: Encoder = field(default_factory=FakeEncoder)
    linker: EntityLinker = field(default_factory=lambda: EntityLinker([]))
    metrics: Metrics = field(default_factory=Metrics)
    rules: WorkerRules = field(default_factory=rules)
    clock: Clock = field(default_factory=lambda: Clock(lambda: NOW, system_clock().monotonic_s))

    def give(self, topic: str, values: Iterable[dict[str, Any] | bytes], key: str = "event_id") -> None:
        for value in values:
            raw = value if isinstance(value, bytes) else json.dumps(value).encode()
            name = value[key].encode() if isinstance(value, dict) and isinstance(value.get(key), str) else raw[:8]
            self.broker.append(f"groundswell.{topic}", name, raw, NOW)

    def give_posts(self, *posts: dict[str, Any] | bytes) -> None:
        self.give("posts", posts)

    def give_clicks(self, *clicks: dict[str, Any] | bytes) -> None:
        self.give("events", clicks, key="user_id")

    def source(self) -> MemorySource:
        return MemorySource(self.broker, GROUP, [self.rules.topics.posts, self.rules.topics.events])

    def worker(self, connections: Connections | None = None) -> Worker:
        connections = connections or Connections(self.source(), MemorySink(self.broker), self.store)
        return Worker(connections, Brain(self.encoder, self.linker), self.rules, self.metrics, self.clock)

    def run(self) -> Worker:
        """Work until everything is read, as a worker that stops then."""
        source = self.source()
        worker = self.worker(Connections(source, MemorySink(self.broker), self.store))
        try:
            worker.run(threading.Event(), until_idle=True)
        finally:
            worker.close()
            source.close()
        return worker

    def scored(self) -> list[ScoredPost]:
        return [ScoredPost.model_validate_json(r.value) for r in self.broker.records(self.rules.topics.scored)]

    def letters(self) -> list[DeadLetter]:
        return [DeadLetter.model_validate_json(r.value) for r in self.broker.records(self.rules.topics.dead_letters)]

    def profiles(self) -> dict[str, bytes]:
        found = {user_id: self.store.get(user_id) for user_id in sorted(self.store.user_ids())}
        return {user_id: encode(profile) for user_id, profile in found.items() if profile is not None}

    def progress(self) -> tuple[int, int]:
        """Return scored and dead, as the store counted them."""
        inputs = [p for topic in (self.rules.topics.posts, self.rules.topics.events) for p in self.broker.partitions(topic)]
        counted = self.store.progress(inputs).values()
        return sum(one.scored for one in counted), sum(one.dead for one in counted)

    def committed(self) -> int:
        return sum(self.broker.committed(GROUP).values())

    def metric(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"groundswell_{name}", labels) or 0.0


class Slow(FakeEncoder):
    """Encodes only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()
        self.entered = threading.Event()

    def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
        self.entered.set()
        assert self.let.wait(30)
        return super().encode(tokens)


def replace_monotonic(ground: Playground, seconds: list[float]) -> Any:
    return ground.clock._replace(monotonic_s=lambda: seconds[0])
