import threading

import pytest

from pipeline.adapters.memory import MemoryBroker, MemorySink, MemorySource
from pipeline.adapters.streams import TopicPartition
from pipeline.errors import ConfigurationError, InvalidRecord, Unavailable
from pipeline.topics import TOPICS

NOW = 1_700_000_000_000


def broker_with(records: int, partitions: int = 2) -> MemoryBroker:
    broker = MemoryBroker({"t": partitions})
    for index in range(records):
        broker.append("t", f"k{index}".encode(), str(index).encode(), NOW + index)
    return broker


def test_the_table_makes_every_topic() -> None:
    broker = MemoryBroker.with_table("p.")
    assert {len(broker.partitions(f"p.{topic.name}")) for topic in TOPICS} == {1, 4}


def test_an_unknown_topic_is_named_with_the_fix() -> None:
    with pytest.raises(ConfigurationError, match=r"'nope' does not exist; `groundswell provision`"):
        MemorySource(MemoryBroker({}), "g", ["nope"])


def test_an_expelled_member_starts_again_at_the_commit() -> None:
    broker = broker_with(10, partitions=1)
    source = MemorySource(broker, "g", ["t"])
    source.commit({TopicPartition("t", 0): source.poll(4, 0)[-1].offset + 1})
    source.poll(3, 0)
    broker.expel(source)
    assert [record.offset for record in source.poll(2, 0)] == [4, 5]


def test_a_partition_lost_and_won_back_between_two_polls_starts_at_the_commit() -> None:
    broker = broker_with(40)
    first = MemorySource(broker, "g", ["t"])
    first.poll(100, 0)
    second = MemorySource(broker, "g", ["t"])
    second.poll(100, 0)
    second.close()
    assert {record.partition for record in first.poll(100, 0)} == {1}


def test_keyless_records_go_round() -> None:
    broker = MemoryBroker({"t": 3})
    assert sorted(broker.append("t", None, b"", NOW).partition for _ in range(6)) == [0, 0, 1, 1, 2, 2]


def test_trim_forgets_and_keeps_offsets() -> None:
    broker = broker_with(10, partitions=1)
    broker.trim("t", {TopicPartition("t", 0): 6})
    assert [record.offset for record in broker.records("t")] == [6, 7, 8, 9]
    assert [record.offset for record in MemorySource(broker, "g", ["t"]).poll(2, 0)] == [6, 7]


def test_a_polling_thread_wakes_when_another_writes() -> None:
    broker = MemoryBroker({"t": 1})
    source, sink = MemorySource(broker, "g", ["t"]), MemorySink(broker)

    def write_all() -> None:
        for index in range(1_000):
            sink.write("t", b"k", str(index).encode(), NOW)

    writer = threading.Thread(target=write_all)
    writer.start()
    seen: list[bytes] = []
    while len(seen) < 1_000:
        records = source.poll(100, 10_000)
        assert records
        seen += [record.value for record in records]
    writer.join()
    assert seen == [str(i).encode() for i in range(1_000)]


def test_without_a_clock_no_time_is_the_future() -> None:
    broker = MemoryBroker({"t": 1})
    MemorySink(broker).write("t", None, b"", NOW + 10**9)
    with pytest.raises(InvalidRecord, match="future"):
        MemorySink(broker, lambda: NOW).write("t", None, b"", NOW + 10**9)
    assert broker.end_offset(TopicPartition("t", 0)) == 1


def test_a_broker_that_is_gone_takes_and_gives_nothing() -> None:
    broker = broker_with(3, partitions=1)
    source, sink = MemorySource(broker, "g", ["t"]), MemorySink(broker)
    broker.available = False
    sink.write("t", None, b"", NOW)
    with pytest.raises(Unavailable, match="1 records were not written"):
        sink.flush()
    with pytest.raises(Unavailable, match="not committed"):
        source.commit({TopicPartition("t", 0): 1})
    assert source.poll(10, 0) == []
    broker.available = True
    sink.flush()
    assert len(source.poll(10, 0)) == 3
