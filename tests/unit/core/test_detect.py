from dataclasses import replace

import pytest

from pipeline.core.baseline import absorb, fresh
from pipeline.core.detect import Assessment, Known, assess, is_flood, is_one_voice, with_sums
from pipeline.core.detector_config import SPIKE, DetectorConfig
from pipeline.core.panes import ZERO, Pane
from pipeline.core.severity import severity_of
from pipeline.core.thresholds import OwnRate
from pipeline.core.windows import PaneHistory
from pipeline.events import Rule, ScoredPost, Severity
from pipeline.times import DAY_MS, HOUR_MS
from tests.unit.core.streams import MINUTE_MS, START_MS, history, scored_post

CONFIG = DetectorConfig()
NOW_MS = START_MS + 30 * DAY_MS


def known(days: int = 30, negative: float = 0.2) -> Known:
    """Return a past of a post every two hours, quiet for the last hours."""
    baseline = fresh(START_MS)
    for start in range(START_MS, START_MS + days * DAY_MS - 6 * HOUR_MS, 2 * HOUR_MS):
        absorb(baseline, Pane(start, 1, 1, negative, 0.0, 0, 0, 1, (), (), "m", "1", ZERO), CONFIG)
    return Known(baseline, OwnRate(START_MS), False)


def burst(count: int, negative: float = 0.95, **changes: object) -> list[ScoredPost]:
    return [scored_post(f"b{i}", NOW_MS - 50 * MINUTE_MS + i * MINUTE_MS, negative, **changes) for i in range(count)]


def assessed(posts: list[ScoredPost], past: Known | None = None) -> Assessment:
    return assess(history(posts), NOW_MS, past or known(), CONFIG)


def test_more_negatives_are_more_surprising() -> None:
    scores = [assessed(burst(count)).score for count in (4, 6, 10, 20)]
    assert scores == sorted(scores)
    assert scores[0] > 0


def test_the_same_negatives_surprise_less_where_they_are_usual() -> None:
    assert assessed(burst(10), known(negative=0.9)).score < assessed(burst(10), known(negative=0.05)).score


def test_a_negative_share_adds_to_the_count() -> None:
    alone = assessed(burst(8))
    among_others = assessed(burst(8) + [scored_post(f"p{i}", NOW_MS - 40 * MINUTE_MS + i, 0.0) for i in range(60)])
    assert alone.score > among_others.score


@pytest.mark.parametrize(
    "posts",
    [burst(1), burst(12, author_id="one"), burst(12, 0.02), burst(12, simhash="00" * 8)],
    ids=["too few", "one author", "not negative", "one content"],
)
def test_without_support_there_is_no_score(posts: list[ScoredPost]) -> None:
    assert assessed(posts).leading is None
    assert assessed(posts).score == 0.0


def test_an_open_incident_is_looked_at_without_support() -> None:
    seen = assess(history(burst(1)), NOW_MS, known()._replace(is_open=True), CONFIG)
    assert seen.leading is not None
    assert not seen.leading.supported
    assert seen.score == 0.0


def test_an_hours_burst_is_a_spike_and_a_days_trickle_a_trend() -> None:
    trickle = [scored_post(f"t{i}", NOW_MS - 23 * HOUR_MS + i * 2 * HOUR_MS, 0.95) for i in range(12)]
    spike, trend = assessed(burst(14)).leading, assessed(trickle).leading
    assert spike is not None
    assert trend is not None
    assert (spike.lane.rule, trend.lane.rule) == (Rule.NEGATIVE_SPIKE, Rule.NEGATIVE_TREND)


def test_an_hour_of_silence_takes_nothing_from_what_built_up_over_a_day() -> None:
    trickle = [scored_post(f"t{i}", NOW_MS - 20 * HOUR_MS + i * 2 * HOUR_MS, 0.95) for i in range(10)]
    trend = assessed(trickle).leading
    assert trend is not None
    assert min(trend.tails) > 0.0


def test_severity_needs_magnitude_beside_the_tail_and_is_held_back_while_young() -> None:
    few, many = assessed(burst(6)), assessed(burst(40))
    assert few.leading is not None
    assert many.leading is not None
    eager = few._replace(threshold=0.1)
    assert severity_of(eager, few.leading, CONFIG) is Severity.WARNING
    assert severity_of(many._replace(threshold=1.0), many.leading, CONFIG) is Severity.CRITICAL
    assert severity_of(many._replace(threshold=1.0, cold=True), many.leading, CONFIG) is Severity.WARNING
    assert severity_of(few._replace(threshold=100.0), few.leading, CONFIG) is Severity.INFO


def test_two_people_within_an_hour_are_information_and_no_more() -> None:
    past = known(negative=0.001)
    two = assessed(burst(2), past)
    assert two.score > 0
    assert two.leading is not None
    assert not two.leading.firm
    assert severity_of(two._replace(threshold=0.1), two.leading, CONFIG) is Severity.INFO
    assert assessed(burst(2, author_id="one"), past).score == 0.0


def test_floods_are_one_content_or_young_accounts_in_little_variety() -> None:
    same = burst(30, simhash="ab" * 8)
    varied = burst(30)
    young = [
        scored_post(
            f"y{i}",
            NOW_MS - 50 * MINUTE_MS + i,
            0.5,
            simhash=f"{(i % 3) << 20 | 0xFF << 8 * (i % 3):016x}",
            author_created_ms=NOW_MS - DAY_MS,
        )
        for i in range(30)
    ]
    for posts, expected in ((same, True), (varied, False), (young, True), (same[:15], False)):
        assert is_flood(history(posts), NOW_MS, CONFIG.flood) is expected


def test_a_young_entity_is_cold_and_needs_more() -> None:
    past = known(1)
    seen = assess(history(burst(4)), NOW_MS, past._replace(baseline=replace(past.baseline, first_ms=NOW_MS - DAY_MS)), CONFIG)
    assert seen.cold
    assert seen.leading is None


@pytest.mark.parametrize("copies", [0, 1])
def test_where_one_is_gone_a_copy_of_it_takes_its_place(copies: int) -> None:
    past = known(1)
    young = past._replace(baseline=replace(past.baseline, first_ms=NOW_MS - DAY_MS))
    posts = burst(5)
    again = [post.model_copy(update={"event_id": f"again-{post.event_id}", "author_id": "other"}) for post in posts[:copies]]
    seen = assess(history([*posts, *again]), NOW_MS, young, CONFIG)
    assert seen.cold
    assert seen.leading is not None
    fewer = tuple(sums._replace(negative=sums.negative - 0.95, effective=sums.effective - 1) for sums in seen.leading.sums)
    assert with_sums(seen.leading, fewer, seen, CONFIG).supported is bool(copies)


def said(*contents: tuple[int, float]) -> PaneHistory:
    """Return a window in which each content is said so many times, so negatively, by as many people."""
    posts = [
        scored_post(f"c{number}-{copy}", NOW_MS - 50 * MINUTE_MS + copy * 1_000, negative, simhash=f"{number:02x}" * 8)
        for number, (times, negative) in enumerate(contents, start=1)
        for copy in range(times)
    ]
    return history(sorted(posts, key=lambda post: post.event_time_ms))


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ([(3, 0.9)], True),
        ([(4, 0.9), (2, 0.8), (1, 0.95), (1, 0.05), (1, 0.05)], True),  # two texts, and one person who means it
        ([(2, 0.9), (2, 0.9), (2, 0.9)], True),  # a flood of a few texts, before any of them is said often
        ([(1, 0.9), (1, 0.9)], False),  # two people, two texts
        ([(2, 0.9), (1, 0.9), (1, 0.9)], False),  # one repeats another, half of it is others'
        ([(9, 0.05), (1, 0.9), (1, 0.9)], False),  # neutral copies hide no mood
        ([(9, 0.9), (1, 0.9), (1, 0.9), (1, 0.9), (1, 0.9)], False),  # the others are enough for a warning
        ([(9, 0.9), (1, 0.9), (1, 0.9), (1, 0.1)], True),
    ],
)
def test_copies_are_one_voice_unless_the_others_are_firm(contents: list[tuple[int, float]], expected: bool) -> None:
    assert is_one_voice(said(*contents), NOW_MS, SPIKE, CONFIG.flood) is expected
