"""With fewer negative posts than an alert says, the same rules over the same posts do not fire."""

import random
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.core.baseline import absorb, fresh
from pipeline.core.counterfactual import would_not_fire_below
from pipeline.core.detect import Assessment, Known, assess
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.panes import ZERO, Pane
from pipeline.core.spikes import NegativeSpikeOperator
from pipeline.core.thresholds import OwnRate
from pipeline.core.trends import PANE_MS
from pipeline.events import Alert, AlertStatus, Rule, ScoredPost
from pipeline.jobs.trends import TrendHost
from pipeline.times import DAY_MS, HOUR_MS
from tests.unit.core.streams import MINUTE_MS, START_MS, background, history, in_order, scored_post, shift

CONFIG = DetectorConfig()
NOW_MS = START_MS + 30 * DAY_MS
REFERENCE_MS = {lane.rule: lane.reference_ms for lane in CONFIG.lanes}


@cache
def known(negative: float) -> Known:
    """Return a past of a post every two hours."""
    baseline = fresh(START_MS)
    for start in range(START_MS, NOW_MS - 26 * HOUR_MS, 2 * HOUR_MS):
        absorb(baseline, Pane(start, 1, 1, negative, 0.0, 0, 0, 1, (), (), "m", "1", ZERO), CONFIG)
    return Known(baseline, OwnRate(START_MS), False)


def without_the_most_negative(posts: list[ScoredPost], since_ms: int, mass: float) -> list[ScoredPost]:
    """Leave the most negative posts since then out, of equal ones the oldest, until less than ``mass`` is left."""
    inside = sorted((p for p in posts if p.event_time_ms >= since_ms), key=lambda p: (p.sentiment.negative, -p.event_time_ms))
    while sum(p.sentiment.negative for p in inside) >= mass:
        inside.pop()
    return in_order([p for p in posts if p.event_time_ms < since_ms], inside)


def fewest(posts: list[ScoredPost], past: Known) -> tuple[Assessment, int | None]:
    seen, held = assess(history(posts), NOW_MS, past, CONFIG), history(posts)
    assert seen.leading is not None
    return seen, would_not_fire_below(held, seen, seen.leading, CONFIG)


def post_at(number: int, minutes_ago: int, negative: float) -> ScoredPost:
    return scored_post(f"p{number}", NOW_MS - minutes_ago * MINUTE_MS, round(negative, 4))


moods = st.one_of(st.floats(0.5, 1.0), st.floats(0.0, 0.5), st.sampled_from([0.02, 0.95]))
recent = st.lists(st.tuples(st.integers(1, 59), moods), min_size=4, max_size=16)
spread = st.lists(st.tuples(st.integers(1, 1439), moods), min_size=3, max_size=16)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(recent, spread, st.sampled_from([0.02, 0.1, 0.3, 0.6]))
def test_with_fewer_negative_posts_than_told_the_rules_do_not_fire(
    lately: list[tuple[int, float]], before: list[tuple[int, float]], usual: float
) -> None:
    posts = in_order([post_at(number, ago, negative) for number, (ago, negative) in enumerate([*lately, *before])])
    past = known(usual)
    seen = assess(history(posts), NOW_MS, past, CONFIG)
    assume(seen.score >= seen.threshold)
    assert seen.leading is not None
    count = would_not_fire_below(history(posts), seen, seen.leading, CONFIG)
    assume(count is not None)  # where the posts before the window may be enough by themselves nothing is promised
    assert count is not None
    assert 1 <= count <= seen.leading.reference.negative
    fewer = without_the_most_negative(posts, NOW_MS - seen.leading.lane.reference_ms, count)
    again = assess(history(fewer), NOW_MS, past, CONFIG)
    assert again.score < again.threshold


def having_heard(posts: list[ScoredPost], past: Known) -> Known:
    """Return the past with those of the posts in it that are old enough to be expected."""
    baseline = past.baseline.copy()
    for pane in history(posts).between(0, NOW_MS - CONFIG.guard_ms - PANE_MS):
        absorb(baseline, pane, CONFIG)
    return past._replace(baseline=baseline)


@pytest.mark.parametrize(("total", "every_ms"), [(14, 4 * MINUTE_MS), (14, 100 * MINUTE_MS)], ids=["spike", "trend"])
def test_the_count_is_what_was_needed_and_not_far_below_it(total: int, every_ms: int) -> None:
    posts = [scored_post(f"p{n}", NOW_MS - (total - n) * every_ms, 0.95) for n in range(total)]
    past = known(0.2)
    _, count = fewest(posts, having_heard(posts, past))
    assert count is not None
    assert 1 <= count < 0.95 * total
    for mass, fires in ((count, False), (count + 2, True)):
        left = without_the_most_negative(posts, 0, mass)
        then = assess(history(left), NOW_MS, having_heard(left, past), CONFIG)
        assert (then.score >= then.threshold) is fires


def test_what_does_not_fire_needs_no_number() -> None:
    seen, count = fewest([post_at(n, 5 * n + 1, 0.95) for n in range(4)], known(0.9))
    assert 0 < seen.score < seen.threshold
    assert count is None


def firing(posts: list[ScoredPost]) -> Iterator[Alert]:
    host = TrendHost(NegativeSpikeOperator(CONFIG), CONFIG.out_of_orderness_ms)
    for step in (*host.on_posts(posts), host.finish()):
        yield from (alert for alert in step.alerts if alert.rule is not Rule.COORDINATED_ACTIVITY)


@pytest.mark.parametrize("seed", range(8))
def test_the_whole_stream_without_them_opens_no_alert(seed: int) -> None:
    """Replayed from the first post on, with everything that depends on the history."""
    rng = random.Random(seed)
    begin = START_MS + 9 * DAY_MS + rng.randrange(24) * HOUR_MS
    posts = in_order(background("A", 9, 30, seed), shift("A", begin, rng.randrange(8, 20), rng.randrange(1, 4) * MINUTE_MS))
    opened = next(alert for alert in firing(posts) if alert.status is AlertStatus.OPENED and alert.event_time_ms > begin)
    assert opened.would_not_fire_below is not None
    assert f"fewer than {opened.would_not_fire_below} negative posts" in opened.explanation
    seen = [post for post in posts if post.event_time_ms < opened.event_time_ms]
    since = opened.event_time_ms - REFERENCE_MS[opened.rule]
    assert opened.event_time_ms in [alert.event_time_ms for alert in firing(seen)]
    fewer = without_the_most_negative(seen, since, opened.would_not_fire_below)
    assert [alert for alert in firing(fewer) if since < alert.event_time_ms <= opened.event_time_ms] == []


@pytest.mark.parametrize("seed", [1, 2, 3, 68, 109, 137, 300, 393])
def test_a_trends_stream_without_them_does_not_open_it_at_that_moment(seed: int) -> None:
    """What is gone is not expected either: the last five of these opened all the same when that was left out."""
    rng = random.Random(seed)
    begin = START_MS + 14 * DAY_MS
    usual = background("A", 15.5, rng.choice([1, 2, 4]), seed)
    count = rng.randrange(4, 12)
    trickle = [scored_post(f"s{i}", begin + rng.randrange(22 * HOUR_MS), rng.choice([0.95, 0.8, 0.6])) for i in range(count)]
    posts = in_order(usual, trickle)
    for told in list(firing(posts)):
        if (told.status, told.rule) == (AlertStatus.OPENED, Rule.NEGATIVE_TREND) and told.would_not_fire_below is not None:
            seen = [post for post in posts if post.event_time_ms < told.event_time_ms]
            fewer = without_the_most_negative(seen, told.event_time_ms - DAY_MS, told.would_not_fire_below)
            assert [alert for alert in firing(fewer) if alert.event_time_ms == told.event_time_ms] == []


def test_the_terms_of_an_alerts_score_add_up_to_it() -> None:
    begin = START_MS + 9 * DAY_MS
    opened = next(firing(in_order(background("A", 9, 30, 1), shift("A", begin, 14))))
    assert opened.share_of_score > 0
    assert sum(window.share_of_score for window in opened.windows) + opened.share_of_score == pytest.approx(1.0, abs=1e-3)
    assert sum(w.tail_log10 for w in opened.windows) / 3 + opened.share_tail_log10 / 2 == pytest.approx(opened.score, abs=1e-3)
