from pipeline.adapters.stalls import StallDetector
from pipeline.adapters.streams import TopicPartition

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


def test_a_partition_that_is_silent_for_the_whole_timeout_is_named_alone() -> None:
    stalls = StallDetector(10.0)
    for second in range(10):
        assert stalls.observe(float(second), [A, B], [A], room=True) == []
    assert stalls.observe(10.0, [A, B], [A], room=True) == [B]


def test_silence_without_room_proves_nothing() -> None:
    stalls = StallDetector(10.0)
    stalls.observe(0.0, [A], [], room=True)
    assert stalls.observe(20.0, [A], [], room=False) == []
    assert stalls.observe(29.0, [A], [], room=True) == []
    assert stalls.observe(30.0, [A], [], room=True) == [A]


def test_a_partition_that_went_and_came_back_starts_anew() -> None:
    stalls = StallDetector(10.0)
    stalls.observe(0.0, [A], [], room=True)
    stalls.observe(5.0, [], [], room=True)
    assert stalls.observe(11.0, [A], [], room=True) == []


def test_strikes_count_until_a_record_comes() -> None:
    stalls = StallDetector(10.0)
    stalls.observe(0.0, [A], [], room=True)
    assert [stalls.strike(A, 10.0), stalls.strike(A, 20.0)] == [1, 2]
    assert stalls.observe(25.0, [A], [A], room=True) == []
    assert stalls.strike(A, 40.0) == 1


def test_an_excused_partition_gets_the_whole_timeout_again() -> None:
    stalls = StallDetector(10.0)
    stalls.observe(0.0, [A], [], room=True)
    stalls.excuse(A, 12.0)
    assert stalls.observe(21.0, [A], [], room=True) == []
    assert stalls.observe(22.0, [A], [], room=True) == [A]
