import random
from collections.abc import Mapping, Sequence
from contextlib import suppress

import pytest

from pipeline.adapters.memory import MemoryBroker, MemorySource
from pipeline.adapters.streams import Record, TopicPartition
from pipeline.adapters.time_ordered import TimeOrderedSource
from pipeline.errors import Unavailable


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class ChunkedSource(MemorySource):
    """Hands over one partition after the other, as a broker does with a backlog; a silent partition shows nothing."""

    silent: TopicPartition | None = None

    def _take(self, max_records: int) -> list[Record]:
        taken = super()._take(10**6)
        keep = [each for each in taken if each.topic_partition != self.silent]
        first = min((each.topic_partition for each in keep), default=None)
        chunk = [each for each in keep if each.topic_partition == first][:max_records]
        for partition in {each.topic_partition for each in taken}:
            mine = [each.offset for each in chunk if each.topic_partition == partition]
            start = min(each.offset for each in taken if each.topic_partition == partition)
            self.seek(partition, max(mine) + 1 if mine else start)
        return chunk


def backlog(records: int = 400, partitions: int = 4) -> MemoryBroker:
    broker, rng = MemoryBroker({"t": partitions}), random.Random(3)
    for number in range(records):
        broker.append("t", f"{rng.random()}".encode(), b"x", number)
    return broker


def drain(source: TimeOrderedSource, max_records: int = 7) -> list[int]:
    times: list[int] = []
    for _ in range(10_000):
        times += [record.timestamp_ms for record in source.poll(max_records, 0)]
        if not any(source.lag().values()):
            return times
    raise AssertionError("the source never came to its end")


def test_a_backlog_comes_in_the_order_of_time_though_partitions_come_one_by_one() -> None:
    broker = backlog()
    raw = ChunkedSource(broker, "raw", ["t"])
    unordered = [record.timestamp_ms for _ in range(20) for record in raw.poll(50, 0)]
    assert sorted(unordered) == list(range(400))
    assert unordered != sorted(unordered)
    assert drain(TimeOrderedSource(ChunkedSource(broker, "g", ["t"]))) == list(range(400))


def test_a_partition_without_records_holds_nobody_back() -> None:
    broker = MemoryBroker({"t": 4})
    for number in range(10):
        broker.append("t", b"one key", b"x", number)
    assert drain(TimeOrderedSource(MemorySource(broker, "g", ["t"]))) == list(range(10))


def test_a_partition_that_stays_silent_holds_the_others_back_only_for_a_while() -> None:
    broker, clock = backlog(), Clock()
    inner = ChunkedSource(broker, "g", ["t"])
    inner.silent = TopicPartition("t", 2)
    source = TimeOrderedSource(inner, patience_s=5, clock_s=clock)
    assert [source.poll(50, 0) for _ in range(10)] == [[]] * 10
    clock.now_s = 6.0
    assert source.poll(50, 0)


def test_paused_it_delivers_nothing_and_lag_counts_what_it_holds() -> None:
    broker = backlog()
    source = TimeOrderedSource(MemorySource(broker, "g", ["t"]))
    taken = len(source.poll(100, 0))
    assert sum(source.lag().values()) == 400 - taken
    source.pause()
    assert list(source.poll(100, 0)) == []
    source.resume()
    assert taken + len(drain(source)) == 400


def test_after_a_seek_the_partition_is_read_again_from_there() -> None:
    broker = backlog()
    source = TimeOrderedSource(MemorySource(broker, "g", ["t"]))
    drain(source)
    place = TopicPartition("t", 1)
    source.seek(place, 0)
    again = drain(source)
    assert again == [record.timestamp_ms for record in broker.records("t") if record.partition == 1]


def test_one_topic_does_not_wait_for_another() -> None:
    broker = MemoryBroker({"old": 1, "new": 1})
    for number in range(50):
        broker.append("old", b"k", b"x", number)
        broker.append("new", b"k", b"x", 10_000 + number)
    source = TimeOrderedSource(MemorySource(broker, "g", ["old", "new"]))
    first = [record for _ in range(3) for record in source.poll(20, 0)]
    assert {record.topic for record in first} == {"old", "new"}


class Failing(ChunkedSource):
    """A source whose broker goes away while it is full, and which says whether it is paused."""

    away = False
    is_paused = False

    def pause(self) -> None:
        self.is_paused = True
        super().pause()

    def resume(self) -> None:
        self.is_paused = False
        super().resume()

    def poll(self, max_records: int, timeout_ms: int) -> Sequence[Record]:
        if self.away:
            raise Unavailable("the broker is gone")
        return super().poll(max_records, timeout_ms)


def test_a_broker_that_goes_away_while_the_source_is_full_does_not_leave_it_paused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.adapters.time_ordered.HELD_RECORDS", 3)
    inner = Failing(backlog(40), "g", ["t"])
    source = TimeOrderedSource(inner)
    times = [record.timestamp_ms for _ in range(4) for record in source.poll(2, 0)]
    inner.away = True
    with pytest.raises(Unavailable):
        source.poll(2, 0)
    assert not inner.is_paused
    inner.away = False
    assert times + drain(source) == list(range(40))


class Forgetful(MemorySource):
    """Does not answer one of the questions for its lag, the one with the number ``fails``."""

    asked, fails = 0, 0

    def lag(self) -> Mapping[TopicPartition, int]:
        self.asked += 1
        if self.asked == self.fails:
            raise Unavailable("the broker is gone for a moment")
        return super().lag()


@pytest.mark.parametrize("fails", range(1, 9))
def test_a_lag_that_cannot_be_told_loses_no_record(fails: int) -> None:
    broker = MemoryBroker({"a": 2, "b": 2})
    for number in range(40):
        broker.append("ab"[number % 2], f"{number}".encode(), b"x", number)
    inner = Forgetful(broker, "g", ["a", "b"])
    inner.fails = fails
    source = TimeOrderedSource(inner)
    came: list[Record] = []
    for _ in range(30):
        with suppress(Unavailable):
            came += source.poll(100, 0)
    assert sorted(record.timestamp_ms for record in came) == list(range(40))


def test_what_is_held_of_a_partition_that_goes_and_comes_back_is_dropped() -> None:
    broker = MemoryBroker({"a": 1, "b": 1})
    for number in range(20):
        broker.append("a", b"k", b"x", number)
        broker.append("b", b"k", b"x", number)
    inner = MemorySource(broker, "g", ["a", "b"])
    source = TimeOrderedSource(inner)
    taken = len(source.poll(10, 0))
    assert sum(inner.lag().values()) < 40 - taken  # so it holds some
    broker.expel(inner)
    again = [record for _ in range(20) for record in source.poll(40, 0)]
    assert [record.offset for record in again if record.topic == "a"] == list(range(20))
    assert [record.offset for record in again if record.topic == "b"] == list(range(20))


def test_a_partition_that_stays_silent_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.adapters.time_ordered.HELD_RECORDS", 20)
    monkeypatch.setattr("pipeline.adapters.time_ordered.MOST_HELD_RECORDS", 60)
    broker, clock = backlog(), Clock()
    inner = ChunkedSource(broker, "g", ["t"])
    inner.silent = TopicPartition("t", 2)
    source = TimeOrderedSource(inner, patience_s=5, clock_s=clock)

    def poll(at_s: float, room: int) -> int:
        clock.now_s = at_s
        came = [record.timestamp_ms for record in source.poll(10, 0)]
        assert sum(source.lag().values()) - sum(inner.lag().values()) < room
        assert came == sorted(came)
        return len(came)

    assert sum(poll(0.1 * step, room=60 + 10) for step in range(20)) > 0  # full, it does not wait any longer
    assert [poll(6.0, room=60) for _ in range(4)] == [10] * 4
    assert [poll(7.0, room=20 + 10) for _ in range(4)] == [10] * 4
    inner.silent = None
    assert len(drain(source)) > 100
