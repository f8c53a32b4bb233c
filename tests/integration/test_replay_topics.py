"""Replays of a real Kafka: the same alerts as from the file, late posts as late, nothing of the live group moved."""

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from infra.provision import expected_topics, provision
from pipeline import commands
from pipeline.adapters import kafka_reader
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.adapters.kafka_reader import KafkaReader
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.kafka_source import KafkaSource
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.spikes import make_operator
from pipeline.events import ScoredPost
from pipeline.jobs.trends import TrendHost
from pipeline.settings import KafkaSettings
from tests.parity.flink_runs import publish
from tests.unit.core.streams import HOUR_MS, eventful

pytestmark = pytest.mark.integration
GROUP = "live-trends"
Replay = Callable[..., tuple[bytes, bytes]]


@pytest.fixture
def kafka(kafka_bootstrap: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap=kafka_bootstrap, topic_prefix=topic_prefix)
    with KafkaAdmin(settings) as admin:
        for prefix in (topic_prefix, f"{topic_prefix}again."):
            provision(admin, expected_topics(prefix, 1), apply=False)
    return settings


@pytest.fixture
def replay(kafka: KafkaSettings, tmp_path: Path) -> Replay:
    app = Typer()
    commands.register_all(app)
    environment = {"GROUNDSWELL_KAFKA__BOOTSTRAP": kafka.bootstrap, "GROUNDSWELL_KAFKA__TOPIC_PREFIX": kafka.topic_prefix}

    def call(*arguments: object) -> tuple[bytes, bytes]:
        command = ["replay", *map(str, arguments), "--out", str(tmp_path / "out")]
        result = CliRunner().invoke(app, command, env=environment | {"GROUNDSWELL_HOME": str(tmp_path)})
        assert result.exit_code == 0, (result.output, result.exception)
        return (tmp_path / "out" / "trends.jsonl").read_bytes(), (tmp_path / "out" / "alerts.jsonl").read_bytes()

    return call


def commit_something(kafka: KafkaSettings) -> None:
    source = KafkaSource(kafka, GROUP, [f"{kafka.topic_prefix}scored"])
    while not (records := source.poll(5, 1_000)):
        pass
    source.commit({record.topic_partition: record.offset + 1 for record in records})
    source.close()


def committed(kafka: KafkaSettings) -> object:
    with KafkaAdmin(kafka) as admin:
        return admin.committed(GROUP)


def test_a_range_of_a_topic_gives_what_the_file_gives_and_moves_no_group(
    kafka: KafkaSettings, replay: Replay, tmp_path: Path
) -> None:
    posts = eventful()
    publish(kafka, f"{kafka.topic_prefix}scored", posts)
    commit_something(kafka)
    before = committed(kafka)
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"".join(post.to_json() + b"\n" for post in posts))
    span = ("--from", posts[20].event_time_ms, "--to", posts[-3].event_time_ms, "--warm-up", 1)
    again = f"{kafka.topic_prefix}again."
    told = replay("topic:scored", *span, "--publish", again)
    assert told == replay(path, *span)
    assert told[1]
    assert committed(kafka) == before
    reader = KafkaReader(kafka)
    for topic, lines in (("trends", told[0]), ("alerts", told[1])):
        values = [record.value for record in reader.read_range(f"{again}{topic}")]
        assert sorted(values) == sorted(lines.splitlines())
        assert list(reader.read_range(f"{kafka.topic_prefix}{topic}")) == []


def test_late_posts_of_a_topic_are_as_late_as_they_came(kafka: KafkaSettings, replay: Replay) -> None:
    posts = eventful()
    kept = [post for number, post in enumerate(posts) if number % 7]
    as_it_came = interleaved(kept, [post for number, post in enumerate(posts) if number % 7 == 0])
    publish(kafka, f"{kafka.topic_prefix}scored", as_it_came)
    live = told_live(as_it_came)
    trends, alerts = replay("topic:scored", "--arrival")
    assert (sorted(trends.splitlines()), sorted(alerts.splitlines())) == live
    in_order = replay("topic:scored")
    assert (sorted(in_order[0].splitlines()), sorted(in_order[1].splitlines())) != live


def interleaved(kept: list[ScoredPost], late: list[ScoredPost]) -> list[ScoredPost]:
    """Return the posts in the order of their coming, each of ``late`` three hours behind its time: too late."""
    coming = [(post.event_time_ms, post) for post in kept] + [(post.event_time_ms + 3 * HOUR_MS, post) for post in late]
    return [post for _, post in sorted(coming, key=lambda one: (one[0], one[1].event_id))]


def told_live(posts: list[ScoredPost]) -> tuple[list[bytes], list[bytes]]:
    """Return the trends and alerts of a live host."""
    config = DetectorConfig()
    host = TrendHost(make_operator(config), config.out_of_orderness_ms)
    steps = [*host.on_posts(posts), host.finish()]
    trends = [trend.to_json() for step in steps for trend in step.trends]
    return sorted(trends), sorted(alert.to_json() for step in steps for alert in step.alerts)


def test_a_reader_that_takes_its_time_is_not_told_that_nothing_comes(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = count(step=kafka_reader.PROGRESS_TIMEOUT_S)
    topic = f"{kafka.topic_prefix}posts"
    sink = KafkaSink(kafka)
    for number in range(20):
        sink.write(topic, b"%d" % number, b"{}", 1_700_000_000_000)
    sink.close()
    now = [0.0]
    monkeypatch.setattr(kafka_reader, "monotonic", lambda: now[0])
    for _ in KafkaReader(kafka).read_range(topic):
        now[0] = next(seconds)
    assert next(seconds) == 20 * kafka_reader.PROGRESS_TIMEOUT_S
