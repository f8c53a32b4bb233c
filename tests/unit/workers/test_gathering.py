"""Which records go to the device together."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

from pipeline.adapters.memory import MemorySink, MemorySource
from pipeline.adapters.streams import Record
from tests.unit.workers.playground import GROUP, Playground, post
from workers.encoder import Encodings, TokenIds
from workers.fake_encoder import FakeEncoder
from workers.worker import Connections


class Dripping(MemorySource):
    """Gives one record a poll, which takes the whole ``timeout_ms``; ``after`` hears how many polls there were."""

    def __init__(self, ground: Playground, after: Callable[[int], None] = lambda _: None) -> None:
        super().__init__(ground.broker, GROUP, [ground.rules.topics.posts])
        self.seconds = 0.0
        self._polls = 0
        self._after = after

    def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        self.seconds += timeout_ms / 1000
        self._polls += 1
        records = super().poll(min(1, max_records), 0)
        self._after(self._polls)
        return records


class Noting(FakeEncoder):
    """Notes how many texts came together."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
        self.sizes.append(len(tokens))
        return super().encode(tokens)


class Held(Noting):
    """Encodes only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()

    def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
        assert self.let.wait(30)
        return super().encode(tokens)


def first_batch(max_wait_ms: float, max_tokens: int = 4_096) -> tuple[int, float]:
    """Return how many of ten texts that come one by one go to the idle device together, and the time that took in s."""
    ground, encoder = Playground(), Noting()
    ground.rules = replace(ground.rules, limits=replace(ground.rules.limits, max_wait_ms=max_wait_ms, max_tokens=max_tokens))
    ground.encoder = encoder
    ground.give_posts(*(post(n, text=f"words number {n}") for n in range(10)))
    source = Dripping(ground)
    ground.clock = ground.clock._replace(monotonic_s=lambda: source.seconds)
    worker = ground.worker(Connections(source, MemorySink(ground.broker), ground.store))
    worker.step()
    taken_s = source.seconds
    worker.drain()
    worker.close()
    return encoder.sizes[0], taken_s


def test_without_a_wait_the_first_text_leaves_at_once() -> None:
    assert first_batch(max_wait_ms=0.0) == (1, 0.0)


def test_a_text_waits_for_company_until_its_time_is_over() -> None:
    together, taken_s = first_batch(max_wait_ms=5.0)
    assert together > 1
    assert taken_s <= 0.005


def test_a_full_budget_leaves_before_the_time_is_over() -> None:
    together, taken_s = first_batch(max_wait_ms=60_000.0, max_tokens=2)
    assert (together, taken_s) == (1, 0.0)


def test_what_comes_while_the_device_computes_goes_to_it_together() -> None:
    ground, encoder = Playground(), Held()
    ground.encoder = encoder
    ground.give_posts(*(post(n, text=f"words number {n}") for n in range(10)))
    source = Dripping(ground, lambda polls: encoder.let.set() if polls == 10 else None)
    worker = ground.worker(Connections(source, MemorySink(ground.broker), ground.store))
    worker.step()
    worker.step()
    worker.drain()
    worker.close()
    assert encoder.sizes == [1, 9]
