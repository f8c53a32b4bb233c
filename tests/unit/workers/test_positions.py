import pytest

from pipeline.adapters.memory import MemoryBroker
from pipeline.adapters.memory_reader import MemoryReader
from pipeline.adapters.stores import MemoryProfileStore, Outcomes
from pipeline.adapters.streams import Record, TopicPartition
from pipeline.errors import Stop
from workers.positions import Positions, check_ends, first_offsets

A, B = TopicPartition("posts", 0), TopicPartition("posts", 1)


def records(partition: TopicPartition, *offsets: int) -> list[Record]:
    return [Record(partition.topic, partition.partition, offset, None, b"", 0) for offset in offsets]


def once() -> int:
    return 1


@pytest.fixture
def store() -> MemoryProfileStore:
    store = MemoryProfileStore()
    store.advance({A: Outcomes(10, [], []), B: Outcomes(5, [], [])})
    return store


def test_first_offsets_are_told_by_partition() -> None:
    assert first_offsets([*records(A, 3, 4), *records(B, 7), *records(A, 5)]) == {A: 3, B: 7}


def test_what_follows_or_comes_again_has_no_hole(store: MemoryProfileStore) -> None:
    assert Positions(store, once).holes([*records(A, 10, 11), *records(B, 2, 3)]) == {}


def test_a_partition_that_the_store_does_not_know_is_read_from_its_beginning_once(store: MemoryProfileStore) -> None:
    unknown = TopicPartition("events", 0)
    positions = Positions(store, once)
    assert positions.holes(records(unknown, 1_000)) == {unknown: 0}
    assert positions.holes(records(unknown, 1_000)) == {}


def test_the_first_record_of_a_new_partition_has_no_hole(store: MemoryProfileStore) -> None:
    assert Positions(store, once).holes(records(TopicPartition("events", 0), 0)) == {}


def test_a_store_that_stands_further_back_has_a_hole(store: MemoryProfileStore) -> None:
    assert Positions(store, once).holes([*records(A, 12), *records(B, 5)]) == {A: 10}


def test_offsets_that_are_gone_are_sought_once(store: MemoryProfileStore) -> None:
    positions = Positions(store, once)
    assert positions.holes(records(A, 12)) == {A: 10}
    assert positions.holes(records(A, 12)) == {}
    store.advance({A: Outcomes(20, [], [])})
    assert positions.holes(records(A, 25)) == {A: 20}


def test_the_same_hole_is_found_again_after_it_was_read(store: MemoryProfileStore) -> None:
    positions = Positions(store, once)
    assert positions.holes(records(A, 12)) == {A: 10}
    assert positions.holes(records(A, 10)) == {}
    assert positions.holes(records(A, 12)) == {A: 10}


def test_a_quiet_partition_that_lost_its_tail_is_noticed_without_records(store: MemoryProfileStore) -> None:
    positions = Positions(store, once)
    positions.settled({A: 10, B: 5})
    assert positions.holes(()) == {}
    positions.settled({A: 14})
    assert positions.holes(records(B, 5)) == {A: 10}


def test_a_rebalance_before_the_hole_was_read_takes_the_source_back_again(store: MemoryProfileStore) -> None:
    counts = iter([1, 2, 2])
    positions = Positions(store, lambda: next(counts))
    assert positions.holes(records(A, 12)) == {A: 10}
    assert positions.holes(records(A, 12)) == {A: 10}
    assert positions.holes(records(A, 12)) == {}


def test_a_record_that_is_left_out_in_the_middle_is_a_hole(store: MemoryProfileStore) -> None:
    positions = Positions(store, once)
    assert positions.holes([*records(A, 10, 11, 14), *records(B, 5)]) == {A: 10}
    assert positions.holes([*records(A, 10, 11, 12, 13, 14), *records(B, 5)]) == {}
    assert positions.holes(records(A, 10, 11, 14)) == {A: 10}


def test_what_another_member_has_done_in_between_is_no_hole(store: MemoryProfileStore) -> None:
    assert Positions(store, once).holes(records(A, 6, 7, 10, 11)) == {}


def test_a_topic_that_has_gaps_of_its_own_is_read_again_once(store: MemoryProfileStore) -> None:
    positions = Positions(store, once)
    assert positions.holes(records(A, 10, 12)) == {A: 10}
    assert positions.holes(records(A, 10, 12)) == {}
    store.advance({A: Outcomes(13, [], [])})
    assert positions.holes([*records(A, 13, 15, 17), *records(B, 5, 8)]) == {}


def test_a_topic_that_was_made_anew_beside_a_store_that_was_kept_stops_the_worker() -> None:
    kept, broker = MemoryProfileStore(), MemoryBroker({"posts": 1})
    for _ in range(8):
        broker.append("posts", b"k", b"x", 0)
    check_ends(kept, MemoryReader(broker), ["posts"])
    kept.advance({A: Outcomes(8, [], [])})
    check_ends(kept, MemoryReader(broker), ["posts"])
    kept.advance({A: Outcomes(10, [], [])})
    with pytest.raises(Stop, match=r"posts:0 ends at offset 8, .* up to 10: .*KEY_PREFIX"):
        check_ends(kept, MemoryReader(broker), ["posts"])
