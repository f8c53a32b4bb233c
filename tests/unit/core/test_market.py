"""A market of forty entities: what is the market's, what is one entity's, and what is only one text."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.corrections import settled_alerts
from pipeline.core.detector_config import DetectorConfig, market_config
from pipeline.core.market import MarketOperator
from pipeline.core.market_breadth import membership
from pipeline.core.market_rules import group_of
from pipeline.core.market_state import MARKET_STATE_VERSION
from pipeline.core.pane_digest import MANY
from pipeline.core.spikes import make_operator
from pipeline.core.trends import PANE_MS
from pipeline.errors import StateVersionError
from pipeline.events import Alert, AlertReason, AlertStatus, Rule, ScoredPost
from pipeline.jobs.market_stage import MarketStage
from pipeline.jobs.trends import TrendHost, make_host
from pipeline.times import AFTER_ALL_MS
from tests.unit.core.streams import DAY_MS, HOUR_MS, MINUTE_MS, START_MS, background, in_order, market_drop, scored_post, shift

CONFIG = DetectorConfig()
NAMES = [f"E{n:02}" for n in range(40)]
DROP_MS = START_MS + 9 * DAY_MS + 15 * HOUR_MS
QUIET = in_order(*(background(name, 9.9, 6, n) for n, name in enumerate(NAMES)))


TAIL = [scored_post(f"tail-{n}", DROP_MS - 2 * DAY_MS + n * 6 * MINUTE_MS, 0.05, entity=f"T{n:03}") for n in range(400)]


def told(posts: Sequence[ScoredPost], config: DetectorConfig = CONFIG, restart_every: int = 0) -> list[Alert]:
    host, alerts = make_host(config), list[Alert]()
    for number, post in enumerate(posts, start=1):
        alerts += host.on_post(post).alerts
        if restart_every and number % restart_every == 0:
            snapshot = host.snapshot()
            host = make_host(config)
            host.restore(snapshot)
    return [*alerts, *host.finish().alerts]


def of_the_market(alerts: Sequence[Alert]) -> list[Alert]:
    return [alert for alert in alerts if alert.rule is Rule.MARKET_WIDE]


def drop(names: Sequence[str] = NAMES, each: int = 2) -> list[ScoredPost]:
    return market_drop(names, DROP_MS, each)


DROPPED = in_order(QUIET, drop())


@pytest.fixture(scope="module")
def dropped() -> list[Alert]:
    """Return what is told of DROPPED."""
    return told(DROPPED)


def test_a_drop_of_the_whole_market_opens_one_alert_that_names_its_members(dropped: list[Alert]) -> None:
    alerts = of_the_market(dropped)
    assert len({alert.alert_id for alert in alerts}) == 1
    opened, ended = alerts[0], alerts[-1]
    assert (opened.status, opened.entity) == (AlertStatus.OPENED, "market:all")
    assert DROP_MS < opened.event_time_ms <= DROP_MS + 40 * MINUTE_MS
    assert ended.status is AlertStatus.RESOLVED
    assert opened.market is not None
    assert opened.market.entities == len(NAMES)
    assert opened.market.exceeding >= len(NAMES) // 10
    assert len(opened.market.members) == opened.market.exceeding
    assert opened.market.factor > 3
    assert f"{opened.market.exceeding} of 40 entities with a history exceed" in opened.explanation
    assert [alert.revision for alert in alerts] == list(range(len(alerts)))
    assert [Alert.model_validate_json(alert.to_json()) for alert in alerts] == alerts


def test_what_entities_say_does_not_depend_on_the_market(dropped: list[Alert]) -> None:
    alone = replace(CONFIG, market=replace(CONFIG.market, groups="off"))
    of_members = [alert.to_json() for alert in dropped if alert.rule is not Rule.MARKET_WIDE]
    assert of_members == [alert.to_json() for alert in told(DROPPED, alone)]
    assert of_members


def test_the_market_speaks_before_its_members_of_the_same_moment(dropped: list[Alert]) -> None:
    at = dropped.index(of_the_market(dropped)[0])
    assert all(alert.event_time_ms < dropped[at].event_time_ms for alert in dropped[:at])


@pytest.mark.slow
def test_a_market_of_which_everybody_says_one_thing_is_found() -> None:
    alerts = of_the_market(told(in_order(QUIET, drop(each=1))))
    assert alerts[0].event_time_ms <= DROP_MS + 40 * MINUTE_MS


@pytest.mark.slow
def test_a_long_tail_of_names_hardly_heard_of_does_not_hide_the_market(dropped: list[Alert]) -> None:
    opened = of_the_market(told(in_order(DROPPED, TAIL)))[0].market
    alone = of_the_market(dropped)[0].market
    assert opened is not None
    assert alone is not None
    assert opened.entities == len(NAMES)
    assert opened.factor == pytest.approx(alone.factor, rel=0.25)


@pytest.mark.slow
def test_names_hardly_heard_of_are_not_the_market() -> None:
    unheard_of = [f"U{n:02}" for n in range(20)]
    assert of_the_market(told(in_order(QUIET, drop(unheard_of)))) == []


@pytest.mark.slow
def test_one_loud_entity_is_not_the_market() -> None:
    loud = shift("E07", DROP_MS, 60, MINUTE_MS // 2)
    some = drop(NAMES[:3])
    assert of_the_market(told(in_order(QUIET, loud, some))) == []


@pytest.mark.slow
def test_a_loud_but_narrow_hour_does_not_hide_a_broad_day() -> None:
    """Within a day two posts about each, while one entity is loud for an hour; here only two posts make a member exceed."""
    config = replace(CONFIG, market=replace(CONFIG.market, member_mass=1.0))
    rng = random.Random(4)
    begin_ms = DROP_MS - 20 * HOUR_MS
    day = [
        scored_post(f"day-{name}-{n}", begin_ms + rng.randrange(20 * HOUR_MS), 0.95, entity=name)
        for name in NAMES[8:]
        for n in (1, 2)
    ]
    loud = shift("E07", begin_ms + 510 * MINUTE_MS, 60, MINUTE_MS)
    alerts = of_the_market(told(in_order(QUIET, day, loud), config))
    assert alerts[0].event_time_ms < loud[-1].event_time_ms
    assert alerts[0].windows[-1].size_ms == DAY_MS


@pytest.mark.slow
def test_an_entity_whose_crash_names_others_is_not_the_market() -> None:
    """Many different posts, each about the loud one and two others: without those that name it nothing is left."""
    rng = random.Random(1)
    posts = [
        scored_post(f"crash-{number}", DROP_MS + number * MINUTE_MS, 0.95, entity=name)
        for number in range(40)
        for name in ("E07", *rng.sample(NAMES[8:], 2))
    ]
    alerts = told(in_order(QUIET, posts))
    assert any(alert.entity == "E07" for alert in alerts)
    assert of_the_market(alerts) == []


@pytest.mark.slow
def test_one_text_pushed_at_forty_entities_is_not_the_market() -> None:
    pushed = [
        scored_post(f"push-{name}-{n}", DROP_MS + at * 20_000 + n * 1_000, 0.95, entity=name, simhash=f"{0xABCDEF ^ n:016x}")
        for at, name in enumerate(NAMES)
        for n in range(3)
    ]
    assert of_the_market(told(in_order(QUIET, pushed))) == []


@pytest.mark.slow
def test_a_few_posts_that_name_forty_entities_are_not_the_market() -> None:
    posts = [
        scored_post(
            f"all-{n}", DROP_MS + n * 5 * MINUTE_MS, 0.95, entity=name, simhash=f"{random.Random(n).getrandbits(64):016x}"
        )
        for n in range(3)
        for name in NAMES
    ]
    assert of_the_market(told(in_order(QUIET, posts))) == []


@pytest.mark.slow
def test_one_author_is_not_the_market() -> None:
    posts = [
        post.model_copy(update={"author_id": "one", "event_time_ms": DROP_MS + n * 1_000}) for n, post in enumerate(drop(each=1))
    ]
    assert of_the_market(told(in_order(QUIET, posts))) == []


@pytest.mark.slow
def test_the_residual_tells_who_stands_out_beyond_the_market(dropped: list[Alert]) -> None:
    alerts = of_the_market(told(in_order(DROPPED, shift("E11", DROP_MS, 30, MINUTE_MS))))
    market = alerts[-2].market
    assert market is not None
    assert [member.entity for member in market.members if member.own] == ["E11"]
    assert market.members[0].entity == "E11"
    assert "stand out: E11." in alerts[-2].explanation
    plain = of_the_market(dropped)[-2].market
    assert plain is not None
    assert not any(member.own for member in plain.members)


@pytest.mark.slow
def test_silent_members_count_in_what_is_expected() -> None:
    """Half of the market stays silent: the factor is half of what it would be if only those who speak counted."""
    half = drop(NAMES[:20], each=2)
    quiet = [post for post in QUIET if post.event_time_ms < DROP_MS - HOUR_MS or post.entity in NAMES[:20]]
    some, every = (
        [alert.market for alert in of_the_market(told(in_order(quiet, posts))) if alert.market is not None]
        for posts in (half, drop(each=2))
    )
    assert {market.entities for market in (*some, *every)} == {len(NAMES)}
    assert max(market.factor for market in some) == pytest.approx(max(market.factor for market in every) / 2, rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_late_posts_correct_the_market_too(seed: int, dropped: list[Alert]) -> None:
    rng = random.Random(seed)
    near = [post for post in DROPPED if post.event_time_ms > DROP_MS - 30 * HOUR_MS]
    late = sorted((post.event_time_ms + rng.randrange(CONFIG.allowed_lateness_ms), n) for n, post in enumerate(near))
    posts = [post for post in DROPPED if post.event_time_ms <= DROP_MS - 30 * HOUR_MS] + [near[n] for _, n in late]
    assert settled_alerts(told(posts)) == settled_alerts(dropped)


@pytest.mark.slow
def test_late_originals_that_explain_the_drop_away_take_the_alert_back() -> None:
    """What looked like forty voices had been said before by one, in one minute, of other entities: that came late."""
    texts = drop(each=2)
    other = dict(zip(NAMES, [*NAMES[20:], *NAMES[:20]], strict=True))
    originals = [
        scored_post(f"o-{n}", DROP_MS - 20 * MINUTE_MS, 0.95, entity=other[post.entity], author_id="one", simhash=post.simhash)
        for n, post in enumerate(texts)
    ]
    before = in_order([post for post in QUIET if post.event_time_ms < DROP_MS + 42 * MINUTE_MS], texts)
    after = [post for post in QUIET if post.event_time_ms >= DROP_MS + 42 * MINUTE_MS]
    alerts = of_the_market(told([*before, *originals, *after]))
    assert alerts[0].status is AlertStatus.OPENED
    assert (alerts[-1].status, alerts[-1].reason) == (AlertStatus.RETRACTED, AlertReason.CORRECTED_BELOW_THRESHOLD)


@pytest.mark.slow
def test_a_restart_from_encoded_state_changes_nothing(dropped: list[Alert]) -> None:
    plain = [alert.to_json() for alert in dropped]
    assert [alert.to_json() for alert in told(DROPPED, restart_every=150)] == plain


@pytest.mark.slow
def test_a_state_survives_its_encoding_and_a_newer_one_is_refused() -> None:
    operator = MarketOperator(market_config(CONFIG))
    members = TrendHost(make_operator(CONFIG, tells_panes=True), CONFIG.out_of_orderness_ms)
    state = operator.new_state()
    for step in [*members.on_posts(DROPPED), members.finish()]:
        timers = {timer for pane in step.panes for timer in operator.on_event(state, pane, 0).timers}
        for timer in sorted(timers):
            operator.on_timer(state, timer)
    encoded = operator.encode_state(state)
    assert operator.encode_state(operator.decode_state(encoded)) == encoded
    assert len(encoded) < 1024 * 1024
    newer = (MARKET_STATE_VERSION + 1).to_bytes(2, "big") + encoded[2:]
    with pytest.raises(StateVersionError, match=f"version {MARKET_STATE_VERSION + 1}"):
        operator.decode_state(newer)


def test_members_of_a_state_that_did_not_tell_what_they_remember_count() -> None:
    operator = MarketOperator(market_config(CONFIG))
    members = TrendHost(make_operator(CONFIG, tells_panes=True), CONFIG.out_of_orderness_ms)
    state = operator.new_state()
    for step in [*members.on_posts(background("E1", 1, 6, 1)), members.finish()]:
        for pane in step.panes:
            operator.on_event(state, pane, 0)
    state.last = {"E2": next(iter(state.digests.values()))["E1"]._replace(entity="E2")}
    told_before: Any = {start: {"E1": digests["E1"][:-1]} for start, digests in state.digests.items()}
    last_before: Any = {"E2": state.last["E2"][:-1]}
    before = replace(state, digests=told_before, last=last_before)
    decoded = operator.decode_state((2).to_bytes(2, "big") + operator.encode_state(before)[2:])
    assert {digest.remembered for digests in decoded.digests.values() for digest in digests.values()} == {MANY}
    assert membership(decoded, max(state.digests) + PANE_MS, HOUR_MS, operator.config).by_name.keys() == {"E1", "E2"}


@pytest.mark.slow
def test_panes_that_were_written_once_are_as_they_would_be_written_now() -> None:
    operator = MarketOperator(market_config(CONFIG))
    members = TrendHost(make_operator(CONFIG, tells_panes=True), CONFIG.out_of_orderness_ms)
    state = operator.new_state()
    reused = 0
    for step in members.on_posts(DROPPED):
        timers = {timer for pane in step.panes for timer in operator.on_event(state, pane, members.watermark_ms).timers}
        for timer in sorted(timers):
            operator.on_timer(state, timer)
        if step.panes and members.watermark_ms % 7 == 0:
            reused += len(state.written)
            assert operator.encode_state(state) == operator.encode_state(replace(state, written={}))
    assert reused > 1_000
    assert set(state.written) <= set(state.digests)


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 90))
def test_any_order_within_the_lateness_settles_alike(rng: random.Random, restart_every: int) -> None:
    posts = in_order(
        *(background(f"E{n}", 0.6, 20, n) for n in range(8)),
        *(shift(f"E{n}", START_MS + 10 * HOUR_MS + n * MINUTE_MS, 5, 6 * MINUTE_MS) for n in range(7)),
    )
    arrivals = sorted((post.event_time_ms + rng.randrange(CONFIG.allowed_lateness_ms), n) for n, post in enumerate(posts))
    config = replace(CONFIG, cold_start_ms=HOUR_MS)
    expected = settled_alerts(of_the_market(told(posts, config)))
    assert expected
    assert settled_alerts(of_the_market(told([posts[n] for _, n in arrivals], config, restart_every))) == expected


@pytest.mark.slow
def test_a_host_that_went_ahead_of_the_watermark_still_takes_what_comes_behind(dropped: list[Alert]) -> None:
    """As in Flink: what half of the members said is folded to its end, because they went quiet, before the others come."""
    host = TrendHost(make_operator(CONFIG, tells_panes=True), CONFIG.out_of_orderness_ms)
    panes = [pane for step in [*host.on_posts(DROPPED), host.finish()] for pane in step.panes]
    ahead_ms = max(pane.start_ms for pane in panes) + PANE_MS
    stage, alerts = MarketStage(CONFIG), list[Alert]()
    for members in (NAMES[::2], NAMES[1::2]):
        alerts += stage.fold([pane for pane in panes if pane.entity in members], START_MS, ahead_ms)
    alerts += stage.fold((), ahead_ms, AFTER_ALL_MS)
    assert settled_alerts(alerts) == settled_alerts(of_the_market(dropped))


def test_groups_go_by_exchange_where_that_is_wanted() -> None:
    assert [group_of(name, "exchange") for name in ("600519.SH", "0700.HK", "AAPL", "BRK.B")] == [
        "market:SH",
        "market:HK",
        "market:other",
        "market:other",
    ]
    assert group_of("600519.SH", "all") == "market:all"


def test_the_hash_of_entities_alerts_does_not_know_the_market() -> None:
    other = replace(CONFIG, market=replace(CONFIG.market, least_members=7))
    assert other.config_hash == CONFIG.config_hash
    assert market_config(other).config_hash != market_config(CONFIG).config_hash
