"""The worker where offsets do not simply go on: a store that lost its tail, a rebalance at a bad moment, records twice."""

from collections.abc import Mapping, Sequence

import pytest

from pipeline.adapters.memory import MemorySink, MemorySource
from pipeline.adapters.stores import MemoryProfileStore
from pipeline.adapters.streams import Record, TopicPartition
from tests.unit.workers.playground import GROUP, Playground, Slow, click, post, rules
from workers.worker import Connections, Worker


@pytest.fixture
def ground() -> Playground:
    return Playground()


def test_bad_records_that_come_again_are_not_counted_again_in_the_row_that_stops_the_worker(ground: Playground) -> None:
    ground.rules = rules(max_consecutive_dead_letters=10)
    ground.give_posts(*(b"bad" for _ in range(6)))
    source = Uncommitting(ground.broker, GROUP, [ground.rules.topics.posts])
    worker = ground.worker(Connections(source, MemorySink(ground.broker), ground.store))
    for _ in range(3):
        finish(worker)
        ground.broker.expel(source)
    worker.close()
    assert (ground.progress(), worker.totals.dead_letters) == ((0, 6), 18)


class Uncommitting(MemorySource):
    """Its commits come too late."""

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        assert offsets


class Lossy(MemoryProfileStore):
    """Goes back to what it held when it last wrote to its disk."""

    def sync(self) -> None:
        self._synced = dict(self._users), dict(self._progress)

    def crash(self) -> None:
        self._users, self._progress = self._synced


def finish(worker: Worker) -> None:
    while worker.step():
        pass


def clicks_of_one(ground: Playground, first: int, end: int) -> None:
    ground.give_clicks(*(click(n, user_id="u", item_text=f"thing {n}") for n in range(first, end)))


def clicked(ground: Playground) -> set[str]:
    profile = ground.store.get("u")
    assert profile is not None
    return {recent.event_id for recent in profile.recents}


def test_a_rebalance_on_the_way_back_to_a_hole_does_not_close_it(ground: Playground) -> None:
    ground.store = store = Lossy()
    source = ground.source()
    worker = ground.worker(Connections(source, MemorySink(ground.broker), store))
    clicks_of_one(ground, 0, 5)
    finish(worker)
    store.sync()
    clicks_of_one(ground, 5, 10)
    finish(worker)
    store.crash()
    clicks_of_one(ground, 10, 15)
    worker.step()
    worker.step()  # finds the hole and goes back to 5
    ground.broker.expel(source)  # the position is the commit's again
    finish(worker)
    worker.close()
    assert clicked(ground) == {f"c{n}" for n in range(15)}
    assert (ground.progress(), ground.committed()) == ((15, 0), 15)


def test_a_partition_that_goes_and_comes_back_while_a_chunk_is_gathered_stands_in_it_once() -> None:
    encoder = Slow()
    ground = Playground(encoder=encoder, rules=rules(max_poll_records=100))
    polls: list[int] = []

    class Leaving(MemorySource):
        """Is out of its group for a moment after the third poll."""

        def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
            records = super().poll(max_records, timeout_ms)
            polls.append(len(records))
            if len(polls) == 2:
                ground.broker.expel(self)
            if len(polls) == 4:
                encoder.let.set()
            return records

    source = Leaving(ground.broker, GROUP, [ground.rules.topics.posts, ground.rules.topics.events])
    worker = ground.worker(Connections(source, MemorySink(ground.broker), ground.store))
    ground.give_clicks(*(click(n) for n in range(8)))
    worker.step()
    ground.give_posts(*(post(n) for n in range(13)), b"not json")
    finish(worker)
    worker.close()
    assert polls[:3] == [8, 14, 22]
    assert (ground.progress(), ground.committed()) == ((21, 1), 22)
    assert (worker.totals.in_flight, len(ground.letters())) == (0, 1)
