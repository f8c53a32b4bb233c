import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.corrections import settled_alerts, settled_trends
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import STATE_VERSION
from pipeline.core.spikes import NegativeSpikeOperator
from pipeline.errors import StateVersionError
from pipeline.events import Alert, AlertReason, AlertStatus, Rule, ScoredPost, Trend
from pipeline.jobs.trends import TrendHost
from tests.unit.core.streams import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    START_MS,
    background,
    delayed,
    eventful,
    flood,
    in_order,
    scored_post,
    shift,
)

CONFIG = DetectorConfig()
OUT_OF_ORDER_MS = CONFIG.out_of_orderness_ms
EVENTFUL = eventful()


def run(
    posts: list[ScoredPost], restart_every: int = 0, config: DetectorConfig = CONFIG
) -> tuple[list[Trend], list[Alert], list[ScoredPost]]:
    operator = NegativeSpikeOperator(config)
    host = TrendHost(operator, OUT_OF_ORDER_MS)
    steps = []
    for number, post in enumerate(posts, start=1):
        steps.append(host.on_post(post))
        if restart_every and number % restart_every == 0:
            snapshot = host.snapshot()
            host = TrendHost(operator, OUT_OF_ORDER_MS)
            host.restore(snapshot)
    steps.append(host.finish())
    trends = [trend for step in steps for trend in step.trends]
    return trends, [alert for step in steps for alert in step.alerts], [post for step in steps for post in step.late]


def as_bytes(posts: list[ScoredPost], restart_every: int = 0) -> list[bytes]:
    trends, alerts, late = run(posts, restart_every)
    return [record.to_json() for record in (*trends, *alerts, *late)]


def test_a_mood_shift_opens_one_alert_that_is_resolved() -> None:
    _, alerts, _ = run(EVENTFUL)
    spikes = [alert for alert in alerts if alert.rule is Rule.NEGATIVE_SPIKE and alert.entity == "A"]
    assert spikes[0].status is AlertStatus.OPENED
    assert spikes[-1].status is AlertStatus.RESOLVED
    assert spikes[-1].reason is AlertReason.QUIET
    assert len({alert.alert_id for alert in spikes}) == 1
    assert [alert.revision for alert in spikes] == list(range(len(spikes)))


def test_an_alert_comes_within_an_hour_of_the_shift_and_explains_itself() -> None:
    _, alerts, _ = run(EVENTFUL)
    opened = next(alert for alert in alerts if alert.rule is Rule.NEGATIVE_SPIKE)
    begin = START_MS + 12 * DAY_MS + 7 * HOUR_MS
    assert begin < opened.event_time_ms <= begin + HOUR_MS
    assert opened.observed > opened.band.high
    assert opened.would_not_fire_below is not None
    assert 1 <= opened.would_not_fire_below < opened.observed + 1
    assert 1 <= len(opened.evidence) <= 5
    assert all("shift" in evidence.event_id for evidence in opened.evidence[:3])
    assert "negative posts" in opened.explanation


def test_what_is_quoted_for_a_mood_is_negative() -> None:
    begin = START_MS + 12 * DAY_MS + 7 * HOUR_MS
    praise = [scored_post(f"praise-{n}", begin + n * MINUTE_MS, 0.02) for n in range(3)]
    _, alerts, _ = run(in_order(EVENTFUL, praise))
    opened = next(alert for alert in alerts if alert.rule is Rule.NEGATIVE_SPIKE)
    assert opened.posts - len(opened.evidence) >= len(praise)
    assert all(evidence.negative >= 0.5 for evidence in opened.evidence)


def test_of_a_flood_is_quoted_what_was_said_most_often_whatever_its_mood() -> None:
    begin = START_MS + 3 * DAY_MS
    cheerful = [scored_post(f"buy-{n}", begin + n * 20_000, 0.02, entity="B", simhash="00000000abcdef00") for n in range(60)]
    _, alerts, _ = run(in_order(background("B", 3, 20, 1), cheerful, shift("B", begin, 8, 2 * MINUTE_MS)))
    told = [alert for alert in alerts if alert.rule is Rule.COORDINATED_ACTIVITY]
    assert told
    assert told[0].evidence[0].event_id.startswith("buy-")
    assert told[0].evidence[0].count > 10


def test_a_flood_of_one_content_is_reported_as_such_and_not_as_mood() -> None:
    _, alerts, _ = run(EVENTFUL)
    assert {alert.rule for alert in alerts if alert.entity == "B"} == {Rule.COORDINATED_ACTIVITY}


def test_the_first_copies_of_a_flood_of_two_contents_open_no_mood_alert_either() -> None:
    begin = START_MS + 9 * DAY_MS
    contents = ("00000000abcdef00", "ffff000012345678")
    bots = [
        scored_post(f"bot-{n}", begin + n * 25_000, 0.95, simhash=contents[n % 2], author_created_ms=begin - DAY_MS)
        for n in range(60)
    ]
    _, alerts, _ = run(in_order(background("A", 9, 2, 1), bots))
    assert {alert.rule for alert in alerts if alert.event_time_ms > begin} == {Rule.COORDINATED_ACTIVITY}


def test_one_person_who_means_it_is_no_second_voice_beside_a_flood() -> None:
    begin = START_MS + 9 * DAY_MS
    contents = ("00000000abcdef00", "ffff000012345678")
    bots = [
        scored_post(f"bot-{n}", begin + n * 40_000, 0.85, simhash=contents[n % 3 == 0], author_created_ms=begin)
        for n in range(60)
    ]
    human = [scored_post("human", begin + 60_000, 0.95), scored_post("bystander", begin - 600_000, 0.1)]
    _, alerts, _ = run(in_order(background("A", 9, 2, 1), bots, human))
    assert {alert.rule for alert in alerts if alert.event_time_ms > begin} == {Rule.COORDINATED_ACTIVITY}


def test_what_others_say_beside_a_repeated_content_opens_an_alert() -> None:
    begin = START_MS + 9 * DAY_MS
    posts = in_order(background("A", 9, 20, 1), shift("A", begin, 8), flood("A", begin, 12, 2 * MINUTE_MS))
    _, alerts, _ = run(posts)
    assert Rule.NEGATIVE_SPIKE in {alert.rule for alert in alerts if alert.event_time_ms > begin}


@pytest.mark.parametrize("seed", range(3))
def test_order_within_the_watermark_bound_does_not_change_a_byte(seed: int) -> None:
    expected = as_bytes(EVENTFUL)
    assert as_bytes(delayed(EVENTFUL, OUT_OF_ORDER_MS, seed)) == expected


@pytest.mark.parametrize("seed", range(3))
def test_order_within_the_allowed_lateness_does_not_change_what_holds_in_the_end(seed: int) -> None:
    trends, alerts, late = run(EVENTFUL)
    other_trends, other_alerts, other_late = run(delayed(EVENTFUL, CONFIG.allowed_lateness_ms - 1, seed))
    assert settled_trends(other_trends) == settled_trends(trends)
    assert settled_alerts(other_alerts) == settled_alerts(alerts)
    assert late == other_late == []
    assert any(trend.revision > 0 for trend in other_trends), "the shuffle was meant to cause corrections"


@pytest.mark.parametrize("base", [1.5, 1.8])
def test_revisions_of_an_alert_never_go_back(base: float) -> None:
    """At the lower base an alert is taken back, and opened again after the operator has tidied up."""
    tiers = tuple(replace(tier, threshold_base=base) for tier in CONFIG.prior.tiers)
    config = replace(CONFIG, prior=replace(CONFIG.prior, tiers=tiers))
    _, alerts, _ = run(delayed(EVENTFUL, CONFIG.allowed_lateness_ms - 1, 1), config=config)
    by_id: dict[str, list[int]] = {}
    for alert in alerts:
        by_id.setdefault(alert.alert_id, []).append(alert.revision)
    assert all(before < after for revisions in by_id.values() for before, after in pairwise(revisions))


def test_duplicated_ids_change_nothing() -> None:
    doubled = [post for post in EVENTFUL for _ in range(2)]
    assert as_bytes(doubled) == as_bytes(EVENTFUL)


@pytest.mark.parametrize("restart_every", [7, 97])
def test_a_restart_from_encoded_state_changes_nothing(restart_every: int) -> None:
    posts = delayed(EVENTFUL, CONFIG.allowed_lateness_ms // 2, 5)
    assert as_bytes(posts, restart_every) == as_bytes(posts)


def test_posts_behind_the_allowed_lateness_come_back() -> None:
    old = scored_post("old", START_MS)
    new = scored_post("new", START_MS + CONFIG.allowed_lateness_ms + OUT_OF_ORDER_MS + 6 * MINUTE_MS)
    trends, _, late = run([new, old])
    assert late == [old]
    assert [trend.posts for trend in trends] == [1]


def test_a_late_post_revises_its_pane() -> None:
    first = scored_post("first", START_MS + MINUTE_MS)
    later = scored_post("later", START_MS + 20 * MINUTE_MS)
    late = scored_post("late", START_MS + 2 * MINUTE_MS)
    trends, _, _ = run([first, later, late])
    about_first_pane = [trend for trend in trends if trend.window_start_ms == START_MS]
    assert [(trend.revision, trend.posts) for trend in about_first_pane] == [(0, 1), (1, 2)]


def test_late_originals_that_explain_a_spike_away_retract_it() -> None:
    """Half an hour before the spike all its texts had been there, in one minute, from one bot: that came late."""
    begin = START_MS + 12 * DAY_MS + HOUR_MS
    spike = shift("A", begin, 14, MINUTE_MS)
    originals = [scored_post(f"o{i}", begin - 26 * MINUTE_MS, 0.05, simhash=post.simhash) for i, post in enumerate(spike)]
    posts = [*background("A", 12, 20, 3), *spike, scored_post("tick", begin + 20 * MINUTE_MS), *originals]
    _, alerts, late = run(posts)
    assert late == []
    assert alerts[0].status is AlertStatus.OPENED
    assert (alerts[-1].status, alerts[-1].reason) == (AlertStatus.RETRACTED, AlertReason.CORRECTED_BELOW_THRESHOLD)
    assert settled_alerts(alerts) == settled_alerts(run(in_order(posts))[1]) == {}


def test_a_gap_of_years_costs_nothing_and_no_timer_stays() -> None:
    operator = NegativeSpikeOperator(CONFIG)
    host = TrendHost(operator, OUT_OF_ORDER_MS)
    for post in [scored_post("a", START_MS), scored_post("b", START_MS + 3000 * DAY_MS)]:
        host.on_post(post)
    assert len(host.snapshot().timers) == 2  # the end of its pane, and when it is looked whether it is to be forgotten
    assert len(host.finish().trends) == 1
    assert host.snapshot().timers == []


def test_a_newer_state_is_refused() -> None:
    operator = NegativeSpikeOperator(CONFIG)
    encoded = operator.encode_state(operator.new_state())
    newer = (STATE_VERSION + 1).to_bytes(2, "big") + encoded[2:]
    with pytest.raises(StateVersionError, match=f"version {STATE_VERSION + 1}"):
        operator.decode_state(newer)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 180), st.floats(0, 1), st.integers(0, 6)), min_size=1, max_size=60), st.randoms())
def test_any_order_and_duplication_gives_the_same_settled_result(posts: list[tuple[int, float, int]], rng: random.Random) -> None:
    stream = [
        scored_post(f"p{i}", START_MS + minute * 20_000, round(negative, 4), simhash=f"{content:016x}", author_id=f"a{i % 5}")
        for i, (minute, negative, content) in enumerate(posts)
    ]
    other = stream + stream[::2]
    rng.shuffle(other)
    trends, alerts, _ = run(stream)
    other_trends, other_alerts, _ = run(other)
    assert settled_trends(other_trends) == settled_trends(trends)
    assert settled_alerts(other_alerts) == settled_alerts(alerts)


def test_contents_repeated_by_many_authors_count_once() -> None:
    trends, _, _ = run(flood("A", START_MS, 10, 1_000))
    assert trends[0].posts == 10
    assert trends[0].posts_effective == 1.0


@pytest.mark.slow
def test_a_busy_entity_that_is_new_is_learned_and_not_alerted_for_its_volume() -> None:
    _, alerts, _ = run(background("A", 6, 1_500, 9))
    assert alerts == []


def test_a_level_that_stays_becomes_the_new_normal() -> None:
    """Ten times as many posts from the tenth day on: one alert, which ends by itself."""
    change = START_MS + 10 * DAY_MS
    _, alerts, _ = run(in_order(background("A", 10, 20, 4), background("A", 8, 200, 5, change)))
    spikes = [alert for alert in alerts if alert.rule is not Rule.COORDINATED_ACTIVITY]
    assert spikes[0].status is AlertStatus.OPENED
    assert spikes[-1].status is AlertStatus.RESOLVED
    assert spikes[-1].event_time_ms < change + 7 * DAY_MS


def test_lists_of_many_names_are_no_mood_about_anybody_but_may_be_a_flood() -> None:
    """The same burst about one name opens an alert, also among lists; repeated lists are told as coordinated activity."""
    quiet, burst = background("A", 12, 20, 4), shift("A", START_MS + 10 * DAY_MS, 12)
    lists = [
        p.model_copy(update={"event_id": f"l{p.event_id}", "text": "sell $AA $BB $CC $DD", "simhash": "f" * 16}) for p in burst
    ]
    repeated = [post.model_copy(update={"text": "sell $AA $BB $CC $DD"}) for post in flood("A", START_MS + 10 * DAY_MS, 60)]

    def rules(*posts: list[ScoredPost]) -> set[Rule]:
        return {alert.rule for alert in run(in_order(quiet, *posts))[1]}

    assert rules(lists) == set()
    assert rules(burst) == rules(burst, lists) == {Rule.NEGATIVE_SPIKE}
    assert rules(repeated) == {Rule.COORDINATED_ACTIVITY}


def test_late_posts_that_move_a_spike_forward_do_not_call_it_off() -> None:
    begin = START_MS + 12 * DAY_MS + HOUR_MS
    spike = shift("A", begin, 14)
    first = next(alert for alert in run(in_order(background("A", 12, 20, 3), spike))[1] if alert.event_time_ms > begin)
    late = [scored_post(f"late-{i}", begin + i * MINUTE_MS, 0.95) for i in range(3)]
    before = [post for post in spike if post.event_time_ms < first.event_time_ms + 10 * MINUTE_MS]
    _, alerts, _ = run([*background("A", 12, 20, 3), *before, *late, *spike[len(before) :]])
    (gone,) = [alert for alert in alerts if alert.status is AlertStatus.RETRACTED]
    assert (gone.alert_id, gone.reason) == (first.alert_id, AlertReason.REPLACED)
    assert any(alert.alert_id in gone.explanation and alert.starts_at_ms < gone.starts_at_ms for alert in alerts)


def test_a_flood_on_a_busy_day_is_told_by_its_own_hour() -> None:
    begin = START_MS + 12 * DAY_MS
    day = [scored_post(f"d{i}", begin + i * 10 * MINUTE_MS, 0.9 if i % 4 == 0 else 0.1) for i in range(6 * 18)]
    _, alerts, _ = run(in_order(background("A", 12, 20, 3), day, flood("A", begin + 20 * HOUR_MS, 40, MINUTE_MS)))
    floods = [alert for alert in alerts if alert.rule is Rule.COORDINATED_ACTIVITY]
    assert [alert.reason for alert in floods[1:-1]] == [AlertReason.MORE_POSTS] * (len(floods) - 2)
    for alert in floods[:-1]:
        assert "within 60 minutes" in alert.explanation
        assert (alert.posts_effective, alert.windows) == (1.0, ())
        assert alert.score >= alert.threshold


@pytest.mark.parametrize("seed", range(10))
def test_an_update_tells_of_as_many_more_in_its_own_lane_and_what_fires_reaches_its_threshold(seed: int) -> None:
    rng = random.Random(seed)
    begin = START_MS + 9 * DAY_MS + rng.randrange(24) * HOUR_MS
    posts = in_order(
        background("A", 11, rng.choice([10, 20, 40]), seed),
        shift("A", begin, rng.randrange(6, 16), rng.randrange(1, 5) * MINUTE_MS),
    )
    told: dict[str, float] = {}
    for alert in run(posts)[1]:
        if alert.rule is Rule.COORDINATED_ACTIVITY or alert.status in (AlertStatus.RESOLVED, AlertStatus.RETRACTED):
            continue
        assert alert.score >= alert.threshold
        lane = next(lane for lane in CONFIG.lanes if lane.rule is alert.rule)
        ends = (alert.event_time_ms - lane.reference_ms, alert.event_time_ms)
        mass = sum(post.sentiment.negative for post in posts if ends[0] <= post.event_time_ms < ends[1])
        if alert.reason is AlertReason.MORE_NEGATIVE_POSTS:
            assert mass >= CONFIG.lifecycle.update_factor * told[alert.alert_id] - 0.001
        told[alert.alert_id] = max(
            mass, told.get(alert.alert_id, 0.0) if alert.reason is AlertReason.REOPENED_IN_COOLDOWN else 0.0
        )
