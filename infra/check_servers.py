"""The doctor's look at Kafka, Redis and Flink, wherever the settings say they are."""

from collections.abc import Iterator
from typing import Final

from infra.findings import Finding, error, warning
from infra.provision import MISSING, differences, expected_topics
from infra.versions import OLDEST_KAFKA, OLDEST_REDIS
from pipeline.adapters.flink_rest import FlinkRest
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.adapters.redis_admin import RedisFacts
from pipeline.settings import KafkaSettings

MAX_SKEW_MS: Final = 5_000
FULL: Final = 0.9
WORKING: Final = ("RUNNING", "FINISHED", "CANCELED")
RESTART: Final = "groundswell down && groundswell up"
LOSES: Final = "profiles are data, not a cache"


def check_kafka(settings: KafkaSettings) -> Iterator[Finding]:
    """Look at the broker's version, its limits, and the topics."""
    with KafkaAdmin(settings) as admin:
        yield from check_kafka_version(admin.broker_version())
        yield from _broker(admin)
        expected = expected_topics(settings.topic_prefix, settings.replication_factor)
        for each in differences(expected, admin.describe(topic.name for topic in expected)):
            what = f"topic {each.topic} is missing" if each.found == MISSING else f"topic {each.topic}: {each.property}"
            detail = "" if each.found == MISSING else f" is {each.found}, the table says {each.expected}"
            yield error("topics", what + detail, each.fix)


def check_kafka_version(version: tuple[int, int]) -> Iterator[Finding]:
    """Look whether the broker is recent enough."""
    if version < OLDEST_KAFKA:
        what = f"the broker is Kafka {_dotted(version)}; {_dotted(OLDEST_KAFKA)} or later is needed"
        yield error("kafka", what, "upgrade the broker, or use the local stack: groundswell up")


def check_redis(facts: RedisFacts, *, local: bool = False) -> Iterator[Finding]:
    """Look at version, commands, eviction, persistence and memory. ``local``: the stack's own, which starts with its settings."""
    if facts.version < OLDEST_REDIS:
        what = f"Redis is {_dotted(facts.version)}; {_dotted(OLDEST_REDIS)} or later is needed"
        yield error("redis", what, "upgrade it, or use the local stack: groundswell up")
    if not facts.has_functions:
        yield error("redis", "Redis has no functions (FCALL): profile writes are not fenced", "groundswell up")
    if not facts.has_vector_sets:
        yield error("redis", "Redis has no vector sets (VADD)", "groundswell up")
    if facts.eviction_policy != "noeviction":
        what = f"maxmemory-policy is {facts.eviction_policy}: {LOSES}, and Redis may drop them"
        yield error("redis-eviction", what, _configure("maxmemory-policy noeviction", local))
    if not facts.append_only:
        what = "appendonly is off: what was written since the last snapshot is lost when Redis stops"
        yield error("redis-persistence", what, _configure("appendonly yes", local))
    if facts.max_memory and facts.used_memory > FULL * facts.max_memory:
        what = f"Redis uses {facts.used_memory:,} of {facts.max_memory:,} bytes; when full it refuses writes"
        yield warning("redis-memory", what, _configure("maxmemory BYTES", local))


def check_clock(server: str, server_ms: int, now_ms: int, limit_ms: int = MAX_SKEW_MS) -> Iterator[Finding]:
    """Look whether a server's clock and this machine's agree."""
    skew_ms = server_ms - now_ms
    if abs(skew_ms) > limit_ms:
        what = f"the clock of {server} is {abs(skew_ms) / 1000:.1f} s {'ahead of' if skew_ms > 0 else 'behind'} this machine's"
        yield error("clock", what, "timedatectl set-ntp true")


def check_flink(rest_url: str, expects_job: bool = True) -> Iterator[Finding]:
    """Look at the cluster and the trends job in it."""
    rest = FlinkRest(rest_url)
    try:
        if not rest.overview().task_managers:
            yield error("flink", f"no task manager is registered at {rest_url}", "groundswell up")
        jobs = rest.jobs()
        waiting = [job for job in jobs if job.state == "RUNNING" and not job.tasks_run]
    finally:
        rest.close()
    running = {job.name for job in jobs if job.state == "RUNNING"}
    for job in waiting:
        what = f"job {job.name} is RUNNING, and not all of its tasks are: they start, or wait for task slots"
        yield error("flink", what, f"look again in a minute, then at {rest_url}/#/job/{job.job_id}; then: groundswell up")
    for job in jobs:
        if job.state not in WORKING and job.name not in running:
            yield error("flink", f"job {job.name} is {job.state}", f"look at {rest_url}/#/job/{job.job_id}, then: groundswell up")
    if expects_job and not running:
        yield error("flink", f"no job runs at {rest_url}: no trends and no alerts", "groundswell up")


def _broker(admin: KafkaAdmin) -> Iterator[Finding]:
    if admin.broker_configs().get("auto.create.topics.enable") == "true":
        what = "auto.create.topics.enable is true: a misspelt name makes a topic with the wrong properties"
        yield warning("kafka", what, "set auto.create.topics.enable=false in the broker's server.properties")


def _configure(setting: str, local: bool) -> str:
    return RESTART if local else f"redis-cli CONFIG SET {setting}"


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
