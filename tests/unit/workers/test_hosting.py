"""A parent and its replicas: what one that ends brings about for the others."""

import os
import threading
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from typing import cast

import pytest

from workers.hosting import await_end


class Replica:
    """A process that has closed its files, and is seen to have ended from the ``after``-th question on."""

    def __init__(self, sentinel: int, after: float, code: int = 0) -> None:
        self.sentinel = sentinel
        self.terminated = False
        self._questions = 0
        self._after = after
        self._code = code

    @property
    def exitcode(self) -> int | None:
        self._questions += 1
        return self._code if self._questions > self._after else None

    def is_alive(self) -> bool:
        return self.exitcode is None

    def terminate(self) -> None:
        self.terminated = True


@pytest.fixture
def closed() -> Iterator[list[int]]:
    """Two sentinels that are ready: the other ends are closed."""
    pipes = [os.pipe(), os.pipe()]
    for _, writer in pipes:
        os.close(writer)
    yield [reader for reader, _ in pipes]
    for reader, _ in pipes:
        os.close(reader)


@pytest.mark.parametrize("after", range(4))
def test_a_replica_that_dies_between_two_questions_is_seen_all_the_same(closed: list[int], after: int) -> None:
    dead, alive = Replica(closed[0], after, -9), Replica(closed[1], float("inf"))
    await_end(cast(list[SpawnProcess], [dead, alive]), threading.Event())
    assert alive.terminated
    assert not dead.terminated


def test_replicas_that_end_in_order_stop_nobody(closed: list[int]) -> None:
    replicas = [Replica(closed[0], 2), Replica(closed[1], 5)]
    await_end(cast(list[SpawnProcess], replicas), threading.Event())
    assert [replica.terminated for replica in replicas] == [False, False]


def test_a_stop_from_outside_is_waited_for_no_longer(closed: list[int]) -> None:
    stop = threading.Event()
    stop.set()
    alive = Replica(closed[0], float("inf"))
    await_end(cast(list[SpawnProcess], [alive]), stop)
    assert not alive.terminated  # the handler of the signal has told it already
