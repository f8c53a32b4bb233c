"""The worker where offsets do not simply go on: a store that lost its tail, a rebalance at a bad moment, records twice."""

import pytest

from pipeline.adapters.memory import MemorySink
from pipeline.adapters.stores import MemoryProfileStore
from tests.unit.workers.playground import Playground, click
from workers.worker import Connections, Worker


@pytest.fixture
def ground() -> Playground:
    return Playground()


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
