"""One file of scored posts through both hosts of the trend operator: Flink on real Kafka, and this process."""

import random

import pytest

from infra.flink_cluster import FlinkCluster
from pipeline.adapters.kafka_reader import KafkaReader
from pipeline.core.corrections import settled_alerts, settled_trends
from pipeline.core.fold import pane_end_ms
from pipeline.core.market_rules import BY_EXCHANGE
from pipeline.events import AlertStatus, ScoredPost
from tests.parity.flink_runs import bounded_job, publish, run_to_end, settings_for, told_by_flink, told_in_process
from tests.unit.core.streams import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    START_MS,
    background,
    flood,
    in_order,
    market_drop,
    scored_post,
    shift,
)

pytestmark = [pytest.mark.integration, pytest.mark.flink, pytest.mark.slow, pytest.mark.timeout(600)]

DAYS = 5
SPIKE_MS = START_MS + DAYS * DAY_MS + 7 * HOUR_MS
ORDERED = ("calm", "spike", "flooded")
DISORDERED = ("shaken", "doubled")
MEMBERS = tuple(f"000{n}.HK" for n in range(8))
LATE_BY_MS = 3 * HOUR_MS


def recorded_posts() -> tuple[list[ScoredPost], set[str]]:
    """Return posts in order of arrival, and the ids of those that are late whatever the watermark."""
    ordered = in_order(
        background("forgotten", 2, 24, 9, START_MS - 500 * DAY_MS),
        background("forgotten", DAYS + 1, 24, 10),
        *(background(entity, DAYS + 1, 24, seed) for seed, entity in enumerate(ORDERED)),
        shift("spike", SPIKE_MS, 16),
        flood("flooded", SPIKE_MS + 2 * HOUR_MS, 60),
    )
    rng = random.Random(5)
    fallen = in_order(*(background(entity, DAYS + 1, 12, 3) for entity in MEMBERS), market_drop(MEMBERS, SPIKE_MS + 5 * HOUR_MS))
    restless = in_order(
        *(background(entity, DAYS + 1, 24, seed) for seed, entity in enumerate(DISORDERED, start=7)),
        *(shift(entity, SPIKE_MS + HOUR_MS, 16) for entity in DISORDERED),
    )
    arrivals = [(post.event_time_ms, 0, post) for post in ordered]
    arrivals += [(post.event_time_ms + rng.randrange(50 * MINUTE_MS), 1, post) for post in restless]
    arrivals += [(post.event_time_ms + rng.randrange(30 * MINUTE_MS), 1, post) for post in fallen]
    arrivals += [(post.event_time_ms + HOUR_MS // 2, 2, post) for post in restless if post.entity == "doubled"]
    late = [scored_post(f"late-{n}", START_MS + n * DAY_MS, 0.9, entity="shaken") for n in range(1, DAYS)]
    arrivals += [(post.event_time_ms + LATE_BY_MS, 3, post) for post in late]
    arrivals += [(SPIKE_MS, 4, scored_post("nobody", SPIKE_MS, 0.9, entity=""))]
    posts = [post for _, _, post in sorted(arrivals, key=lambda arrival: arrival[:2])]
    return posts, surely_late(posts)


def surely_late(posts: list[ScoredPost]) -> set[str]:
    """Return the posts whose pane ended more than the lateness before the newest of their entity, less the bound."""
    newest: dict[str, int] = {}
    late = set()
    for post in posts:
        before = newest.get(post.entity, 0)
        if pane_end_ms(post.event_time_ms) + HOUR_MS < before - 2 * MINUTE_MS:
            late.add(post.event_id)
        newest[post.entity] = max(before, post.event_time_ms)
    return late


@pytest.mark.parametrize(("execution_mode", "parallelism"), [("process", 2), ("thread", 1)])
def test_flink_and_this_process_say_the_same(
    flink: FlinkCluster, kafka_bootstrap: str, topic_prefix: str, execution_mode: str, parallelism: int
) -> None:
    """Markets go by exchange: a post that is on time for its silent entity and late for its market touches none that speaks."""
    settings = settings_for(kafka_bootstrap, topic_prefix)
    by_exchange = settings.model_copy(update={"trends": settings.trends.model_copy(update={"market": BY_EXCHANGE})})
    job = bounded_job(by_exchange, parallelism, execution_mode)
    posts, late = recorded_posts()
    publish(settings.kafka, job.scored, posts)

    run_to_end(flink, job)

    flinks, ours = told_by_flink(settings.kafka, job), told_in_process(job, posts)
    assert {post.event_id for post in flinks.late} == late == {post.event_id for post in ours.late}
    assert late
    assert settled_alerts(flinks.alerts) == settled_alerts(ours.alerts)
    assert settled_trends(flinks.trends) == settled_trends(ours.trends)
    opened = {alert.entity for alert in ours.alerts if alert.status is AlertStatus.OPENED}
    assert {"spike", "shaken", "doubled", "market:HK"} <= opened
    for entity in ORDERED:
        assert flinks.of(entity) == ours.of(entity)
    records = list(KafkaReader(settings.kafka).read_range(job.alerts))
    assert records
    assert all(record.key is not None and record.key.decode() in opened for record in records)
    by_value = {alert.to_json(): alert for alert in flinks.alerts}
    assert all(by_value[record.value].event_time_ms == record.timestamp_ms for record in records)
