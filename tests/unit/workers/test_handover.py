import threading
from collections.abc import Mapping, Sequence

import pytest

from pipeline.adapters.memory import MemorySink, MemorySource
from pipeline.adapters.streams import Record, TopicPartition
from pipeline.adapters.waiting import wait_until
from tests.unit.workers.playground import GROUP, Playground, Slow, post, replace_monotonic, rules
from workers.handover import Handover
from workers.worker import Connections


class Rebalancing(MemorySource):
    """A source whose group wants to rebalance; it notes what happens in which order."""

    def __init__(self, ground: Playground) -> None:
        super().__init__(ground.broker, GROUP, [ground.rules.topics.posts])
        self.due = False
        self.asked_while_due = 0
        self.notes: list[str] = []

    def rebalance_due(self) -> bool:
        self.asked_while_due += self.due
        return self.due

    def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        self.notes.append("poll")
        self.due = False  # the poll takes part in the rebalance
        return super().poll(max_records, timeout_ms)

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.notes.append("commit")
        super().commit(offsets)


def test_what_is_in_flight_is_committed_before_the_poll_that_gives_partitions_away() -> None:
    ground = Playground(rules=rules(max_poll_records=5))
    ground.give_posts(*(post(n) for n in range(20)))
    source = Rebalancing(ground)
    worker = ground.worker(Connections(source, MemorySink(ground.broker), ground.store))
    worker.step()
    source.due = True
    worker.step()
    worker.drain()
    worker.close()
    assert source.notes == ["poll", "commit", "poll", "commit"]
    assert worker.totals == (10, 10, 0)


@pytest.mark.slow
def test_a_device_that_takes_longer_than_the_drain_timeout_no_longer_holds_the_group_up() -> None:
    seconds, encoder = [0.0], Slow()
    ground = Playground(encoder=encoder, rules=rules(max_poll_records=5, drain_timeout_s=10.0))
    ground.clock = replace_monotonic(ground, seconds)
    ground.give_posts(*(post(n) for n in range(5)))
    source = Rebalancing(ground)
    worker = ground.worker(Connections(source, MemorySink(ground.broker), ground.store))
    thread = threading.Thread(target=worker.run, args=(threading.Event(), True), daemon=True)
    thread.start()
    assert encoder.entered.wait(10)
    assert wait_until(lambda: source.notes.count("poll") >= 3, timeout_s=10)
    source.due = True
    assert wait_until(lambda: source.asked_while_due >= 3, timeout_s=10)
    assert source.due
    seconds[0] = 10.0
    assert wait_until(lambda: not source.due, timeout_s=10)
    encoder.let.set()
    thread.join(timeout=20)
    worker.close()
    assert worker.totals == (5, 5, 0)


def test_each_rebalance_has_its_own_patience() -> None:
    seconds = [0.0]
    source = Rebalancing(Playground())
    handover = Handover(source, 10.0, lambda: seconds[0])
    assert not handover.holds()
    source.due = True
    assert handover.holds()
    seconds[0] = 10.0
    assert not handover.holds()
    source.due = False
    assert not handover.holds()
    source.due = True
    assert handover.holds()
