"""Entities that went silent for too long, here three months: they begin anew, their state goes, and nobody can tell when."""

import random

import pytest

from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import EntityState
from pipeline.core.fold import Arrival, Held, fold
from pipeline.core.forgetting import MARGIN_MS, begins_anew, look_ms, may_go
from pipeline.core.spikes import NegativeSpikeOperator, PaneOperator
from pipeline.core.trends import PANE_MS, Step
from pipeline.events import Alert, ScoredPost, Trend
from pipeline.jobs.trends import TrendHost
from pipeline.times import AFTER_ALL_MS, BEFORE_ALL_MS
from tests.unit.core.streams import DAY_MS, HOUR_MS, START_MS, background, delayed, in_order, shift

CONFIG = DetectorConfig(forget_after_ms=90 * DAY_MS)
NAMES = [f"E{n}" for n in range(6)]


class KeepsAll(NegativeSpikeOperator):
    """The operator, but for letting go of states."""

    def on_timer(self, state: EntityState, timer_ms: int) -> Step:
        return PaneOperator.on_timer(self, state, timer_ms)


def era(days_later: float, seed: int, days: float = 6) -> list[ScoredPost]:
    """Return some days of posts about all entities, with a mood shift of each."""
    start_ms = START_MS + round(days_later * DAY_MS)
    posts = in_order(
        *(background(name, days, 12, seed, start_ms) for name in NAMES),
        *(shift(name, start_ms + 5 * DAY_MS + n * HOUR_MS, 9) for n, name in enumerate(NAMES)),
    )
    return [post.model_copy(update={"event_id": f"{seed}-{post.event_id}"}) for post in posts]


def told(
    posts: list[ScoredPost], operator: NegativeSpikeOperator | None = None, restart_every: int = 0
) -> tuple[list[Trend], list[Alert]]:
    operator = operator or NegativeSpikeOperator(CONFIG)
    host, steps = TrendHost(operator, CONFIG.out_of_orderness_ms), list[Step]()
    for number, post in enumerate(posts, start=1):
        steps.append(host.on_post(post))
        if restart_every and number % restart_every == 0:
            snapshot = host.snapshot()
            host = TrendHost(operator, CONFIG.out_of_orderness_ms)
            host.restore(snapshot)
    steps.append(host.finish())
    return [trend for step in steps for trend in step.trends], [alert for step in steps for alert in step.alerts]


@pytest.mark.slow
def test_after_months_of_silence_an_entity_is_told_of_as_if_it_were_new() -> None:
    later = era(100, 2)
    trends, alerts = told([*era(0, 1), *later])
    alone_trends, alone_alerts = told(later)
    assert alone_alerts
    assert [trend for trend in trends if trend.event_time_ms >= later[0].event_time_ms] == alone_trends
    assert [alert for alert in alerts if alert.event_time_ms >= later[0].event_time_ms] == alone_alerts


@pytest.mark.slow
def test_after_weeks_of_silence_it_is_remembered() -> None:
    later = era(80, 2)
    trends, _ = told([*era(0, 1), *later])
    assert [trend for trend in trends if trend.event_time_ms >= later[0].event_time_ms] != told(later)[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_when_a_state_goes_changes_nothing(seed: int) -> None:
    """Whether it went long before the next post, or is there still; with silences about as long as is needed, and restarts."""
    rng = random.Random(seed)
    eras, days_later = list[ScoredPost](), 0.0
    for number in range(4):
        names = set(NAMES) if number in (0, 3) else set(rng.sample(NAMES, 3))
        eras += [post for post in era(days_later, number) if post.entity in names]
        days_later += 6 + 90 + rng.uniform(-2, 2) if number % 2 else 6 + rng.uniform(85, 95)
    posts = delayed(eras, CONFIG.allowed_lateness_ms, seed)
    kept = told(posts, KeepsAll(CONFIG))
    assert told(posts, restart_every=rng.randrange(20, 90)) == kept
    assert kept[1]


@pytest.mark.slow
def test_a_state_goes_soon_after_that_and_the_others_stay() -> None:
    host = TrendHost(NegativeSpikeOperator(CONFIG), CONFIG.out_of_orderness_ms)
    for post in in_order(era(0, 1), background("lasting", 125, 6, 1)):
        host.on_post(post)
    known = host.snapshot()
    assert known.states.keys() == known.newest_ms.keys() == {"lasting"}
    assert {entity for _, entity in known.timers} == {"lasting"}


@pytest.mark.slow
def test_a_host_that_buffers_holds_of_an_entity_that_went_what_it_holds_of_one_never_seen() -> None:
    """And whether it folds often or once, the same is told."""
    operator, delay_ms = NegativeSpikeOperator(CONFIG), CONFIG.out_of_orderness_ms
    posts = [post for post in (*era(0, 1), *era(100, 2)) if post.entity == "E1"]
    arrivals, newest_ms = list[tuple[Arrival, ScoredPost]](), BEFORE_ALL_MS
    for post in posts:
        arrivals.append((Arrival(post.event_time_ms, newest_ms, 0, 0, b""), post))
        newest_ms = post.event_time_ms
    cut = next(place for place, post in enumerate(posts) if post.event_time_ms > START_MS + 50 * DAY_MS)
    often, once = Held(operator.new_state()), Held(operator.new_state())
    first = fold(operator, often, arrivals[:cut], posts[cut].event_time_ms + 100 * DAY_MS, delay_ms)
    assert often.is_blank
    assert operator.encode_state(often.state) == operator.encode_state(operator.new_state())
    second = fold(operator, often, arrivals[cut:], AFTER_ALL_MS, delay_ms)
    whole = fold(operator, once, arrivals, AFTER_ALL_MS, delay_ms)
    assert (*first.trends, *second.trends) == whole.trends
    assert (*first.alerts, *second.alerts) == whole.alerts


def test_entities_are_looked_at_one_by_one_and_not_before_they_may_go() -> None:
    looks = {name: look_ms(name, START_MS, CONFIG) for name in (*NAMES, "夸德汽车", "\ud800")}
    assert len(set(looks.values())) == len(looks)
    for at_ms in looks.values():
        assert may_go(START_MS, at_ms, CONFIG)
        assert at_ms - START_MS <= 5 * CONFIG.forget_after_ms // 4 + MARGIN_MS + PANE_MS
    assert look_ms("E1", START_MS + PANE_MS, CONFIG) in (looks["E1"], looks["E1"] + CONFIG.forget_after_ms // 4)


def test_a_silence_counts_from_pane_to_pane() -> None:
    assert not begins_anew(START_MS, START_MS + CONFIG.forget_after_ms, CONFIG)
    assert begins_anew(START_MS, START_MS + CONFIG.forget_after_ms + PANE_MS, CONFIG)
    assert not may_go(START_MS, START_MS + CONFIG.forget_after_ms + MARGIN_MS, CONFIG)
