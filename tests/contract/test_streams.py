"""One contract for sources and sinks, over the memory twin and over a real Kafka."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from time import monotonic

import pytest

from pipeline.adapters.memory import MemoryBroker
from pipeline.adapters.streams import Record, TopicPartition
from pipeline.adapters.waiting import wait_until
from pipeline.contract import FUTURE_TOLERANCE_MS
from pipeline.errors import ConfigurationError, InvalidRecord, Reason
from tests.contract.stream_backends import (
    DEADLINE_S,
    LONG_AGO_MS,
    NOW_MS,
    Member,
    Streams,
    kafka_streams,
    memory_streams,
    next_offsets,
    shared,
    take,
)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.integration)])
def streams(request: pytest.FixtureRequest) -> Iterator[Streams]:
    if request.param == "memory":
        made = memory_streams()
    else:
        made = kafka_streams(request.getfixturevalue("kafka_bootstrap"), request.getfixturevalue("topic_prefix"))
    yield made
    for each in made.opened:
        each.close()


def test_records_come_as_they_were_written(streams: Streams) -> None:
    topic = streams.topic(1)
    sink = streams.sink()
    sink.write(topic, b"key", "值 💥".encode(), LONG_AGO_MS, (("h", b"1"),))
    sink.write(topic, None, b"", LONG_AGO_MS + 5)
    sink.flush()
    assert take(streams.source(topic), 2) == [
        Record(topic, 0, 0, b"key", "值 💥".encode(), LONG_AGO_MS, (("h", b"1"),)),
        Record(topic, 0, 1, None, b"", LONG_AGO_MS + 5),
    ]


def test_a_partition_keeps_the_order_and_a_key_its_partition(streams: Streams) -> None:
    topic = streams.topic(3)
    streams.fill(topic, 400)
    records = take(streams.source(topic), 400)
    by_partition: dict[int, list[int]] = defaultdict(list)
    partitions_of_key: dict[bytes | None, set[int]] = defaultdict(set)
    for record in records:
        by_partition[record.partition].append(int(record.value))
        partitions_of_key[record.key].add(record.partition)
    assert len(by_partition) == 3
    assert all(values == sorted(values) for values in by_partition.values())
    assert all(len(partitions) == 1 for partitions in partitions_of_key.values())


def test_both_backends_put_a_key_into_the_same_partition(streams: Streams) -> None:
    topic = streams.topic(4)
    streams.fill(topic, 40)
    expected = MemoryBroker({"x": 4})
    for record in streams.reader.read_range(topic):
        assert expected.append("x", record.key, b"", 0).partition == record.partition


def test_a_poll_is_bounded(streams: Streams) -> None:
    topic = streams.topic(2)
    streams.fill(topic, 50)
    source = streams.source(topic)
    sizes: list[int] = []
    deadline = monotonic() + DEADLINE_S
    while sum(sizes) < 50 and monotonic() < deadline:
        sizes.append(len(source.poll(7, 200)))
    assert sum(sizes) == 50
    assert max(sizes) <= 7


def test_the_group_goes_on_where_it_committed(streams: Streams) -> None:
    topic = streams.topic(2)
    streams.fill(topic, 60)
    first = streams.source(topic)
    done = take(first, 60)[:25]
    first.commit(next_offsets(done))
    first.close()
    rest = take(streams.source(topic), 35)
    assert {r.topic_partition + (r.offset,) for r in rest}.isdisjoint(r.topic_partition + (r.offset,) for r in done)
    assert sorted(int(r.value) for r in done + rest) == list(range(60))


def test_what_was_not_committed_comes_again_after_a_crash(streams: Streams) -> None:
    topic = streams.topic(1)
    streams.fill(topic, 10)
    first = streams.source(topic)
    take(first, 10)
    streams.crash(first)
    assert [int(r.value) for r in take(streams.source(topic), 10)] == list(range(10))


def test_groups_do_not_disturb_each_other(streams: Streams) -> None:
    topic = streams.topic(1)
    streams.fill(topic, 5)
    first = streams.source(topic, "one")
    first.commit(next_offsets(take(first, 5)))
    assert len(take(streams.source(topic, "two"), 5)) == 5


def test_pause_delivers_nothing_and_resume_loses_nothing(streams: Streams) -> None:
    topic = streams.topic(2)
    streams.fill(topic, 30)
    source = streams.source(topic)
    seen = take(source, 1)
    source.pause()
    assert [record for _ in range(5) for record in source.poll(1_000, 50)] == []
    source.commit(next_offsets(seen))  # the member is still one
    source.resume()
    seen += take(source, 30 - len(seen))
    assert sorted(int(r.value) for r in seen) == list(range(30))


def test_partitions_that_arrive_while_paused_deliver_nothing(streams: Streams) -> None:
    topic = streams.topic(4)
    streams.fill(topic, 80)
    first, second = streams.source(topic), streams.source(topic)
    second.pause()
    with Member(second) as paused:
        with Member(first) as other:
            assert wait_until(partial(shared, other, paused, 4), DEADLINE_S)
        first.close()
        assert wait_until(lambda: len(paused.lag) == 4, DEADLINE_S)
    assert paused.records == []
    second.resume()
    assert {int(r.value) for r in take(second, 80)} == set(range(80))


def test_two_members_share_the_partitions(streams: Streams) -> None:
    topic = streams.topic(4)
    with Member(streams.source(topic)) as first, Member(streams.source(topic)) as second:
        assert wait_until(partial(shared, first, second, 4), DEADLINE_S)
        streams.fill(topic, 80)
        assert wait_until(lambda: len(first.records) + len(second.records) >= 80, DEADLINE_S)
    assert {int(r.value) for r in first.records + second.records} == set(range(80))
    assert min(len(first.records), len(second.records)) > 0


def test_a_rebalance_is_told_by_the_number_of_assignments(streams: Streams) -> None:
    topic = streams.topic(4)
    streams.fill(topic, 10)
    source = streams.source(topic)
    take(source, 10)
    before = source.assignments()
    assert source.assignments() == before
    other = streams.source(topic)
    with Member(source) as first:
        with Member(other) as second:
            assert wait_until(partial(shared, first, second, 4), DEADLINE_S)
        other.close()
        assert wait_until(lambda: len(first.lag) == 4, DEADLINE_S)
    assert source.assignments() > before


def test_a_new_owner_goes_on_after_the_commit_of_the_old_one(streams: Streams) -> None:
    topic = streams.topic(4)
    streams.fill(topic, 80)
    source = streams.source(topic)
    source.commit(next_offsets(take(source, 80)))
    with Member(source) as old, Member(streams.source(topic)) as new:
        assert wait_until(partial(shared, old, new, 4), DEADLINE_S)
        assert wait_until(lambda: sum(old.lag.values()) + sum(new.lag.values()) == 0, DEADLINE_S)
    assert new.records == []


def test_a_commit_leaves_out_partitions_that_went_away(streams: Streams) -> None:
    topic = streams.topic(4)
    streams.fill(topic, 80)
    first = streams.source(topic)
    records = take(first, 80)
    second = streams.source(topic)
    with Member(second) as new:
        with Member(first) as old:
            assert wait_until(partial(shared, old, new, 4), DEADLINE_S)
        taken = set(new.lag)
        first.commit(next_offsets(records))
        first.close()
    second.close()
    again = take(streams.source(topic), sum(record.topic_partition in taken for record in records))
    assert {record.topic_partition for record in again} == taken


def test_flushed_records_are_there_for_everyone(streams: Streams) -> None:
    topic = streams.topic(2)
    streams.fill(topic, 500)
    assert sorted(int(r.value) for r in streams.reader.read_range(topic)) == list(range(500))
    assert sum(streams.reader.end_offsets(topic).values()) == 500


def test_a_range_of_time_is_half_open(streams: Streams) -> None:
    topic = streams.topic(2)
    streams.fill(topic, 100)
    chosen = streams.reader.read_range(topic, LONG_AGO_MS + 10, LONG_AGO_MS + 20)
    assert sorted(int(r.value) for r in chosen) == list(range(10, 20))
    assert list(streams.reader.read_range(topic, NOW_MS)) == []


def test_a_read_may_start_at_offsets(streams: Streams) -> None:
    topic = streams.topic(1)
    streams.fill(topic, 10)
    assert [r.offset for r in streams.reader.read_from(topic, {TopicPartition(topic, 0): 7})] == [7, 8, 9]
    assert list(streams.reader.read_from(topic, {TopicPartition(topic, 0): 10})) == []


@pytest.mark.parametrize(
    ("value", "timestamp_ms", "reason"),
    [
        (b"x" * 1_000_001, LONG_AGO_MS, Reason.TOO_LARGE),
        (b"x", NOW_MS + 24 * 3_600_000, Reason.TIME_OUT_OF_RANGE),
        (b"x", -1, Reason.TIME_OUT_OF_RANGE),
    ],
    ids=["too_large", "tomorrow", "before_1970"],
)
def test_what_a_broker_must_refuse_is_not_sent(streams: Streams, value: bytes, timestamp_ms: int, reason: Reason) -> None:
    topic = streams.topic(1)
    sink = streams.sink()
    with pytest.raises(InvalidRecord) as caught:
        sink.write(topic, None, value, timestamp_ms)
    assert caught.value.reason is reason
    sink.write(topic, None, b"x" * 999_000, LONG_AGO_MS)
    sink.flush()
    assert [len(r.value) for r in streams.reader.read_range(topic)] == [999_000]


def test_what_a_broker_takes_is_sent_though_it_lies_further_ahead_than_an_event_may(streams: Streams) -> None:
    """Else a worker whose clock is behind its writer's would end of what the topic held already."""
    topic = streams.topic(1)
    sink = streams.sink()
    sink.write(topic, None, b"x", NOW_MS + FUTURE_TOLERANCE_MS + 60_000)
    sink.flush()
    assert [r.value for r in streams.reader.read_range(topic)] == [b"x"]


def test_lag_counts_what_is_behind_the_end(streams: Streams) -> None:
    topic = streams.topic(1)
    streams.fill(topic, 12)
    source = streams.source(topic)
    assert wait_until(lambda: len(source.poll(5, 200)) == 5, DEADLINE_S)
    assert source.lag() == {TopicPartition(topic, 0): 7}


def test_a_closed_source_says_so(streams: Streams) -> None:
    source = streams.source(streams.topic(1))
    source.close()
    source.close()
    with pytest.raises(ConfigurationError, match="closed"):
        source.poll(1, 0)
    with pytest.raises(ConfigurationError, match="closed"):
        source.commit({})


def test_a_missing_topic_is_named(streams: Streams) -> None:
    with pytest.raises(ConfigurationError, match="nowhere' does not exist"):
        streams.source(streams.name("nowhere"))
