import json

import pytest

from pipeline.adapters.memory import MemoryBroker, MemorySink, MemorySource
from pipeline.core.corrections import settled_alerts, settled_trends
from pipeline.core.fold import pane_end_ms
from pipeline.core.spikes import make_operator
from pipeline.errors import Reason
from pipeline.events import Alert, DeadLetter, Trend
from pipeline.jobs.trends import TrendHost
from pipeline.jobs.trends_live import LiveTrends
from pipeline.jobs.trends_settings import describe
from pipeline.settings import Settings
from pipeline.telemetry import Metrics
from tests.unit.core.streams import DAY_MS, HOUR_MS, START_MS, background, in_order, shift

JOB = describe(Settings())
POSTS = in_order(background("A", 4, 24, 1), shift("A", START_MS + 3 * DAY_MS + 7 * HOUR_MS, 16))


class Clock:
    def __init__(self) -> None:
        self.now_ms = START_MS + 100 * DAY_MS

    def __call__(self) -> int:
        return self.now_ms


def host() -> TrendHost[object]:
    return TrendHost(make_operator(JOB.detector), JOB.detector.out_of_orderness_ms)  # type: ignore[arg-type]


def live(broker: MemoryBroker, clock: Clock, group: str = "g") -> LiveTrends:
    return LiveTrends(MemorySource(broker, group, [JOB.scored]), MemorySink(broker), host(), JOB, clock)


def filled() -> MemoryBroker:
    broker = MemoryBroker.with_table(Settings().kafka.topic_prefix)
    for post in POSTS:
        broker.append(JOB.scored, post.entity.encode(), post.to_json(), post.event_time_ms)
    return broker


def trends_in(broker: MemoryBroker) -> list[Trend]:
    return [Trend.model_validate_json(record.value) for record in broker.records(JOB.trends)]


def drain(trends: LiveTrends) -> None:
    while trends.step():
        pass


def test_the_last_panes_close_when_the_source_went_quiet_and_not_before() -> None:
    broker, clock = filled(), Clock()
    trends = live(broker, clock)
    drain(trends)
    assert max(trend.window_end_ms for trend in trends_in(broker)) < pane_end_ms(POSTS[-1].event_time_ms)
    clock.now_ms += JOB.idleness_ms
    trends.step()
    assert max(trend.window_end_ms for trend in trends_in(broker)) == pane_end_ms(POSTS[-1].event_time_ms)
    assert sum(trend.posts for trend in settled_trends(trends_in(broker)).values()) == len(POSTS)


def test_a_pane_that_still_runs_by_the_wall_clock_stays_open() -> None:
    broker, clock = filled(), Clock()
    clock.now_ms = POSTS[-1].event_time_ms
    trends = live(broker, clock)
    drain(trends)
    clock.now_ms = pane_end_ms(POSTS[-1].event_time_ms) + JOB.idleness_ms
    trends.step()
    assert max(trend.window_end_ms for trend in trends_in(broker)) < pane_end_ms(POSTS[-1].event_time_ms)


@pytest.mark.slow
def test_a_restart_says_the_same_again_under_the_same_ids() -> None:
    broker, clock = filled(), Clock()
    drain(live(broker, clock, "first"))
    alerts = [Alert.model_validate_json(record.value) for record in broker.records(JOB.alerts)]
    drain(live(broker, clock, "second"))
    again = [Alert.model_validate_json(record.value) for record in broker.records(JOB.alerts)]
    assert alerts
    assert settled_alerts(again) == settled_alerts(alerts)
    assert {each.delivery_id for each in again} == {each.delivery_id for each in alerts}


def test_bytes_that_are_no_post_become_a_dead_letter_and_the_rest_goes_on() -> None:
    broker, clock = filled(), Clock()
    broken = broker.append(JOB.scored, b"A", b"\xff{", POSTS[-1].event_time_ms)
    drain(live(broker, clock))
    (letter,) = [DeadLetter.model_validate_json(record.value) for record in broker.records(JOB.dead_letters)]
    assert (letter.payload, letter.partition, letter.offset) == (b"\xff{", broken.partition, broken.offset)
    assert (letter.reason, letter.field, letter.value) == (Reason.INVALID_JSON, "record", "\ufffd{")
    assert letter.fix.endswith("raw control characters; only the worker writes this topic")
    assert trends_in(broker)


def test_sentiment_that_is_no_distribution_becomes_a_dead_letter_that_names_it() -> None:
    broker, clock = filled(), Clock()
    fields = POSTS[-1].model_dump(mode="json") | {"sentiment": {"negative": 0.9, "neutral": 0.9, "positive": 0.9}}
    broken = broker.append(JOB.scored, b"A", json.dumps(fields).encode(), POSTS[-1].event_time_ms)
    drain(live(broker, clock))
    (letter,) = [DeadLetter.model_validate_json(record.value) for record in broker.records(JOB.dead_letters)]
    assert (letter.offset, letter.field) == (broken.offset, "sentiment")
    assert "sum to 2.7;" in letter.fix


def test_metrics_and_readiness_tell_how_the_host_is() -> None:
    broker, clock, metrics = filled(), Clock(), Metrics()
    broker.append(JOB.scored, b"A", b"{", POSTS[-1].event_time_ms)
    source = MemorySource(broker, "g", [JOB.scored])
    trends = LiveTrends(source, MemorySink(broker), host(), JOB, clock, metrics)
    drain(trends)
    value = metrics.registry.get_sample_value
    assert value("groundswell_accepted_total", {"topic": "scored"}) == len(POSTS) + 1
    assert value("groundswell_lag_records", {"topic": "scored"}) == 0
    assert value("groundswell_dead_letters_total", {"topic": "scored", "reason": "invalid_json"}) == 1
    alerts = [Alert.model_validate_json(record.value) for record in broker.records(JOB.alerts)]
    opened = {"rule": "negative_spike", "status": "opened"}
    assert value("groundswell_alerts_total", opened) == sum(a.status == "opened" and a.rule == opened["rule"] for a in alerts) > 0
    assert trends.readiness().ready
    clock.now_ms += 61_000
    assert not trends.readiness().ready
    assert "61 s" in trends.readiness().detail
