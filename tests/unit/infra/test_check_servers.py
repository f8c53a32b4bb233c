"""Faults that no server at hand can have: versions of the past, clocks that run ahead. The others are integration tests."""

from dataclasses import replace

import pytest

from infra.check_servers import check_clock, check_flink, check_kafka_version, check_redis
from infra.findings import Level
from pipeline.adapters.redis_admin import RedisFacts
from tests.flink_answers import answering, cluster_of

SOUND = RedisFacts((8, 2), True, True, "noeviction", True, 100, 0, 0)


def test_a_sound_redis_has_no_finding() -> None:
    assert list(check_redis(SOUND)) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"version": (7, 2)}, "8.0 or later"),
        ({"has_functions": False}, "FCALL"),
        ({"has_vector_sets": False}, "VADD"),
        ({"used_memory": 95, "max_memory": 100}, "refuses writes"),
    ],
)
def test_each_fault_of_redis_is_named(fault: dict[str, object], said: str) -> None:
    (found,) = check_redis(replace(SOUND, **fault))  # type: ignore[arg-type]
    assert said in found.message


def test_an_old_broker_is_refused_and_a_recent_one_not() -> None:
    (found,) = check_kafka_version((3, 9))
    assert "Kafka 3.9" in found.message
    assert list(check_kafka_version((4, 0))) == []


def test_a_clock_that_runs_ahead_or_behind() -> None:
    (ahead,) = check_clock("Redis", 20_000, 1_000)
    (behind,) = check_clock("Redis", 1_000, 20_000)
    assert "19.0 s ahead of" in ahead.message
    assert "19.0 s behind" in behind.message
    assert ahead.level is Level.ERROR
    assert list(check_clock("Redis", 1_000, 2_000)) == []


@pytest.mark.parametrize(
    "fault", [{"eviction_policy": "allkeys-lru"}, {"append_only": False}, {"used_memory": 9, "max_memory": 9}]
)
def test_the_stacks_own_redis_gets_its_settings_back_by_a_restart(fault: dict[str, object]) -> None:
    """It comes without redis-cli, and with its settings."""
    spoiled = replace(SOUND, **fault)  # type: ignore[arg-type]
    assert [each.fix for each in check_redis(spoiled, local=True)] == ["groundswell down && groundswell up"]
    (elsewhere,) = check_redis(spoiled)
    assert elsewhere.fix.startswith("redis-cli CONFIG SET")


@pytest.mark.parametrize(
    ("jobs", "said"),
    [
        ({"a": "RUNNING"}, []),
        ({"a": "FAILED", "b": "RUNNING"}, []),
        ({"a": "FAILED"}, ["is FAILED", "no job runs"]),
        ({}, ["no job runs"]),
    ],
)
def test_a_job_that_failed_is_a_fault_until_another_took_its_place(jobs: dict[str, str], said: list[str]) -> None:
    with answering(cluster_of(**jobs)) as url:
        found = list(check_flink(url))
    assert all(part in each.message for part, each in zip(said, found, strict=True))
    assert all("groundswell up" in each.fix for each in found)


def test_a_running_job_whose_tasks_do_not_run_is_a_fault() -> None:
    """More tasks than slots, and it stays so."""
    answers = cluster_of(a="RUNNING")
    answers["/jobs/overview"]["jobs"][0]["tasks"]["running"] = 0
    with answering(answers) as url:
        (found,) = check_flink(url)
    assert "is RUNNING, and not all of its tasks are" in found.message
    assert f"{url}/#/job/a" in found.fix
