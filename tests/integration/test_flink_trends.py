"""The trends job on a live stream: kills, savepoints and other parallelism change nothing in what it says in the end."""

import pytest

from infra.flink_job import ensure_running, latest_checkpoint
from pipeline.adapters.kafka_reader import KafkaReader
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.events import AlertStatus, DeadLetter
from pipeline.jobs.trends_job import TrendsJob
from tests.parity.flink_lab import READY_S, Lab, kafka_of, wait_for_the_same, wait_for_told, wait_until_at_work
from tests.parity.flink_runs import publish
from tests.unit.core.streams import DAY_MS, HOUR_MS, START_MS, background, in_order, shift

pytestmark = [pytest.mark.integration, pytest.mark.flink, pytest.mark.slow, pytest.mark.timeout(900)]

SPIKE_MS = START_MS + 4 * DAY_MS + 7 * HOUR_MS  # the posts go on long after, so that the alert ends before the stream goes quiet
POSTS = in_order(
    *(background(entity, 6, 24, seed) for seed, entity in enumerate(("calm", "spike", "other"))), shift("spike", SPIKE_MS, 16)
)


def test_the_end_of_a_file_is_told_and_a_killed_task_manager_changes_nothing(lab: Lab, job: TrendsJob) -> None:
    submitted = ensure_running(lab.cluster, job, READY_S)
    assert submitted.resumed_from is None
    assert ensure_running(lab.cluster, job, READY_S).job_id == submitted.job_id
    half = next(number for number, post in enumerate(POSTS) if post.event_time_ms > SPIKE_MS + HOUR_MS / 2)
    publish(kafka_of(job), job.scored, POSTS[:half])
    wait_for_told(job, lambda told: bool(told.trends))
    lab.wait_for_checkpoint(submitted.job_id, after=lab.wait_for_checkpoint(submitted.job_id))

    lab.kill_task_manager()
    publish(kafka_of(job), job.scored, POSTS[half:])

    told = wait_for_the_same(job, POSTS)
    opened = {alert.alert_id for alert in told.alerts if alert.status is AlertStatus.OPENED}
    assert len(opened) == 1
    assert opened == {alert.alert_id for alert in told.alerts if alert.status is AlertStatus.RESOLVED}
    rest = lab.cluster.rest()
    assert rest.checkpoints(submitted.job_id)["counts"]["restored"] >= 1
    rest.close()


def test_state_moves_through_savepoints_to_two_tasks_and_back(lab: Lab, job: TrendsJob) -> None:
    cuts = [len(POSTS) // 3, next(number for number, post in enumerate(POSTS) if post.event_time_ms > SPIKE_MS + HOUR_MS / 2)]
    parts = [POSTS[: cuts[0]], POSTS[cuts[0] : cuts[1]], POSTS[cuts[1] :]]
    for parallelism, part in zip((1, 2, 1), parts, strict=True):
        rescaled = job.model_copy(update={"parallelism": parallelism})
        before = latest_checkpoint(lab.cluster.folder)
        submitted = ensure_running(lab.cluster, rescaled, READY_S)
        assert submitted.resumed_from == (None if before is None else str(before))
        publish(kafka_of(job), job.scored, part)
        if part is parts[-1]:
            break
        wait_until_at_work(job, part)
        savepoint = lab.stop(job)
        assert latest_checkpoint(lab.cluster.folder) == savepoint

    wait_for_the_same(job, POSTS)


def test_a_record_that_is_no_scored_post_becomes_a_dead_letter_with_its_bytes(lab: Lab, job: TrendsJob) -> None:
    ensure_running(lab.cluster, job, READY_S)
    broken = b'{"entity": "calm", "text": "\xff\xfe\x00"}'
    sink = KafkaSink(kafka_of(job))
    sink.write(job.scored, b"calm", broken, START_MS)
    sink.close()
    publish(kafka_of(job), job.scored, POSTS[:50])

    told = wait_for_the_same(job, POSTS[:50])

    assert told.trends
    letters = [DeadLetter.model_validate_json(record.value) for record in KafkaReader(kafka_of(job)).read_range(job.dead_letters)]
    assert [(each.payload, each.offset, each.timestamp_ms) for each in letters] == [(broken, 0, START_MS)]
