import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.corrections import settled_alerts, settled_trends
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.fold import (
    HELD_VERSION,
    Arrival,
    Held,
    decode_held,
    due_ms,
    encode_held,
    fold,
    pane_end_ms,
    quiet_at_ms,
)
from pipeline.core.spikes import make_operator
from pipeline.core.trends import PANE_MS, Step
from pipeline.errors import StateVersionError
from pipeline.events import ScoredPost
from pipeline.jobs.trends import TrendHost
from pipeline.times import AFTER_ALL_MS, BEFORE_ALL_MS
from tests.unit.core.streams import DAY_MS, HOUR_MS, MINUTE_MS, START_MS, background, delayed, in_order, scored_post, shift

CONFIG = DetectorConfig()
OPERATOR = make_operator(CONFIG)
DELAY_MS = CONFIG.out_of_orderness_ms
POSTS = in_order(background("A", 4, 40, 1), shift("A", START_MS + 4 * DAY_MS, 16))


def folded(posts: list[ScoredPost], watermark_lags: list[int], restore_every: int = 0) -> list[Step]:
    """Drive the operator as Flink does: buffer, fold when something is due; the watermark lags by so many posts in turn."""
    held, waiting, newest, watermark, steps = Held(OPERATOR.new_state()), [], BEFORE_ALL_MS, BEFORE_ALL_MS, []
    for number, post in enumerate(posts):
        arrival = Arrival(post.event_time_ms, newest, 0, number, b"")
        waiting.append((arrival, post))
        newest = max(newest, post.event_time_ms)
        seen = posts[: max(0, number + 1 - watermark_lags[number % len(watermark_lags)])]
        watermark = max([watermark, *(each.event_time_ms - DELAY_MS - 1 for each in seen[-200:])])
        due = due_ms(held, (each.event_time_ms for each, _ in waiting))
        if due is not None and due <= watermark:
            steps.append(
                fold(OPERATOR, held, [each for each in waiting if each[0].event_time_ms <= watermark], watermark, DELAY_MS)
            )
            waiting = [each for each in waiting if each[0].event_time_ms > watermark]
            if restore_every and number % restore_every == 0:
                held = decode_held(OPERATOR, encode_held(OPERATOR, held))
    return [*steps, fold(OPERATOR, held, waiting, AFTER_ALL_MS, DELAY_MS)]


def in_process(posts: list[ScoredPost]) -> list[Step]:
    host = TrendHost(OPERATOR, DELAY_MS)
    return [*host.on_posts(posts), host.finish()]


def settled(steps: list[Step]) -> tuple[object, object, list[str]]:
    return (
        settled_trends([trend for step in steps for trend in step.trends]),
        settled_alerts([alert for step in steps for alert in step.alerts]),
        sorted(post.event_id for step in steps for post in step.late),
    )


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(min_value=0, max_value=60), min_size=1, max_size=9),
    st.integers(min_value=1, max_value=4 * HOUR_MS),
    st.integers(0, 9),
)
def test_jumps_of_the_watermark_and_disorder_change_nothing(lags: list[int], within_ms: int, seed: int) -> None:
    posts = delayed(POSTS, within_ms, seed)
    assert settled(folded(posts, lags)) == settled(in_process(posts))


def test_posts_in_order_give_the_same_bytes_as_the_in_process_host() -> None:
    ours, theirs = folded(POSTS, [0, 40, 7], restore_every=5), in_process(POSTS)
    assert [t.to_json() for s in ours for t in s.trends] == [t.to_json() for s in theirs for t in s.trends]
    assert [a.to_json() for s in ours for a in s.alerts] == [a.to_json() for s in theirs for a in s.alerts]
    assert any(s.alerts for s in ours)


def test_lateness_goes_by_what_arrived_before_and_not_by_the_watermark() -> None:
    late = scored_post("late", START_MS, 0.9)
    newest = START_MS + 3 * HOUR_MS
    punctual, behind = (
        Arrival(late.event_time_ms, BEFORE_ALL_MS, 0, 0, b""),
        Arrival(late.event_time_ms, newest, 0, 1, b""),
    )
    held = Held(OPERATOR.new_state())
    assert fold(OPERATOR, held, [(punctual, late)], START_MS, DELAY_MS).late == ()
    assert fold(OPERATOR, Held(OPERATOR.new_state()), [(behind, late)], START_MS, DELAY_MS).late == (late,)


def test_due_is_the_end_of_the_first_pane_or_the_first_timer() -> None:
    held = Held(OPERATOR.new_state())
    assert due_ms(held, ()) is None
    assert due_ms(held, (START_MS + PANE_MS, START_MS + 1)) == START_MS + PANE_MS
    held.timers = [START_MS + 7]
    assert due_ms(held, (START_MS + 1,)) == START_MS + 7
    assert pane_end_ms(START_MS) == START_MS + PANE_MS


def test_silence_counts_from_the_last_word_and_from_the_end_of_its_pane() -> None:
    end_ms = START_MS + PANE_MS
    assert quiet_at_ms(START_MS, START_MS, 2, 10) == end_ms + 12
    assert quiet_at_ms(end_ms + 100, START_MS, 2, 10) == end_ms + 110


def test_held_survives_its_encoding_and_a_newer_version_is_refused() -> None:
    held = Held(OPERATOR.new_state(), START_MS, [START_MS + 1, START_MS + MINUTE_MS])
    encoded = encode_held(OPERATOR, held)
    again = decode_held(OPERATOR, encoded)
    assert (again.newest_ms, again.timers) == (held.newest_ms, held.timers)
    assert encode_held(OPERATOR, again) == encoded
    with pytest.raises(StateVersionError, match="version"):
        decode_held(OPERATOR, bytes([HELD_VERSION + 1]) + encoded[1:])


def test_another_entitys_progress_makes_no_post_late() -> None:
    own = [scored_post("first", START_MS, 0.1), scored_post("second", START_MS + HOUR_MS, 0.1)]
    ahead = scored_post("ahead", START_MS + 6 * HOUR_MS, 0.1, entity="B")
    back = scored_post("back", START_MS + MINUTE_MS, 0.9)
    host = TrendHost(OPERATOR, DELAY_MS)
    steps = [*host.on_posts([*own, ahead, back]), host.finish()]
    posts = [trend.posts for step in steps for trend in step.trends if trend.window_start_ms == START_MS]
    assert settled(steps)[2] == []
    assert posts == [1, 2], "the pane was decided with one post and corrected to two"
