from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.stores import Progress
from pipeline.adapters.streams import TopicPartition
from pipeline.jobs.accounting import account

POSTS, EVENTS = TopicPartition("posts", 0), TopicPartition("events", 1)


def test_sums_over_partitions_and_counts_lag_from_the_commits() -> None:
    ranges = {POSTS: (0, 100), EVENTS: (0, 50)}
    progress = {POSTS: Progress(80, 75, 5), EVENTS: Progress(50, 50, 0)}
    found = account(ranges, progress, {POSTS: 60, EVENTS: 50})
    assert (found.accepted, found.scored, found.dead_letters, found.in_flight, found.lag) == (150, 125, 5, 20, 40)
    assert found.balanced


def test_a_partition_that_nobody_touched_is_wholly_in_flight() -> None:
    found = account({POSTS: (0, 7)}, {}, {})
    assert (found.accepted, found.in_flight, found.lag, found.balanced) == (7, 7, 7, True)


def test_a_lost_record_and_one_counted_twice_break_the_equation() -> None:
    lost = account({POSTS: (0, 100)}, {POSTS: Progress(80, 78, 1)}, {})
    twice = account({POSTS: (0, 100)}, {POSTS: Progress(80, 80, 1)}, {})
    assert lost.problems == ("posts/0: 1 records are not accounted for",)
    assert twice.problems == ("posts/0: 1 records are counted twice",)


def test_a_commit_ahead_of_durable_effects_is_a_problem() -> None:
    found = account({POSTS: (0, 100)}, {POSTS: Progress(80, 80, 0)}, {POSTS: 90})
    assert found.problems == ("posts/0: offset 90 is committed, but effects are durable only up to 80",)


def test_counters_of_a_topic_that_was_made_anew_are_noticed() -> None:
    assert "made anew" in account({POSTS: (0, 10)}, {POSTS: Progress(80, 80, 0)}, {}).problems[0]


def test_records_that_retention_removed_after_counting_stay_in_the_account() -> None:
    found = account({POSTS: (40, 100)}, {POSTS: Progress(80, 79, 1)}, {POSTS: 80})
    assert (found.accepted, found.in_flight, found.balanced) == (100, 20, True)


def test_a_worker_that_began_at_the_first_kept_record_balances_too() -> None:
    found = account({POSTS: (40, 100)}, {POSTS: Progress(80, 39, 1)}, {POSTS: 80})
    assert (found.accepted, found.in_flight, found.balanced) == (60, 20, True)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 1000))
def test_the_equation_holds_whenever_each_record_was_counted_once(scored: int, dead: int, waiting: int) -> None:
    reached = scored + dead
    found = account({POSTS: (0, reached + waiting)}, {POSTS: Progress(reached, scored, dead)}, {POSTS: reached})
    assert found.balanced
    assert found.accepted == found.scored + found.dead_letters + found.in_flight
    assert found.lag == found.in_flight
