"""`provision` against a real broker: it makes what is missing, names what differs, and refuses to move keys."""

import json
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner, Result

from infra.provision import expected_topics
from pipeline.adapters.kafka_admin import KafkaAdmin, TopicState
from pipeline.commands import provision
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.settings import KafkaSettings
from pipeline.topics import EVENTS, POSTS, TOPICS

Run = Callable[..., Result]
pytestmark = pytest.mark.integration


@pytest.fixture
def run(kafka_bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, pointed at topics of this test."""
    monkeypatch.setenv("GROUNDSWELL_KAFKA__BOOTSTRAP", kafka_bootstrap)
    monkeypatch.setenv("GROUNDSWELL_KAFKA__TOPIC_PREFIX", topic_prefix)
    app = typer.Typer()
    provision.register(app)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_creates_the_table_once_and_then_finds_it_right(run: Run, topic_prefix: str) -> None:
    assert run("--check").exit_code == 1
    first = json.loads(run("--json").stdout)
    assert first["done"] == [f"created {topic.full_name(topic_prefix)}" for topic in TOPICS]
    assert first["differences"] == []
    again = run("--check", "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["done"] == []


def test_names_each_difference_and_mends_only_what_moves_no_record(
    run: Run,
    kafka_bootstrap: str,
    topic_prefix: str,
) -> None:
    planted = {
        POSTS.full_name(topic_prefix): (4, {"retention.ms": "60000", "message.timestamp.type": "LogAppendTime"}),
        EVENTS.full_name(topic_prefix): (2, {}),
    }
    with KafkaAdmin(KafkaSettings(bootstrap=kafka_bootstrap)) as admin:
        expected = {topic.name: topic for topic in expected_topics(topic_prefix, 1)}
        admin.create(
            TopicState(name, partitions, 1, {**expected[name].configs, **configs})
            for name, (partitions, configs) in planted.items()
        )
    result = run("--json")
    assert result.exit_code == 1
    found = {
        (each["topic"].removeprefix(topic_prefix), each["property"]): each for each in json.loads(result.stdout)["differences"]
    }
    assert set(found) == {("posts", "retention.ms"), ("posts", "message.timestamp.type"), ("events", "partitions")}
    assert (found["posts", "retention.ms"]["expected"], found["posts", "retention.ms"]["found"]) == ("-1", "60000")
    assert "user_id" in found["events", "partitions"]["fix"]

    applied = json.loads(run("--apply", "--json").stdout)
    assert applied["done"] == [f"set retention.ms=-1, message.timestamp.type=CreateTime of {POSTS.full_name(topic_prefix)}"]
    assert [each["property"] for each in applied["differences"]] == ["partitions"]


def test_the_table_for_people_shows_the_fix(run: Run, topic_prefix: str) -> None:
    shown = run("--check").stdout
    assert "groundswell provision" in shown
    assert "missing" in shown


def test_more_copies_than_brokers_are_named_by_their_setting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROUNDSWELL_KAFKA__REPLICATION_FACTOR", "3")
    refused = run().exception
    assert isinstance(refused, ConfigurationError)
    assert "GROUNDSWELL_KAFKA__REPLICATION_FACTOR = 3" in str(refused)
    assert refused.fix == "set it to 1 at most"


def test_topics_that_somebody_else_creates_meanwhile_are_told_shortly(kafka_bootstrap: str, topic_prefix: str) -> None:
    topic = TopicState(f"{topic_prefix}posts", 1, 1, {})
    with KafkaAdmin(KafkaSettings(bootstrap=kafka_bootstrap)) as admin:
        admin.create([topic])
        with pytest.raises(Unavailable, match=rf"^another process creates {topic.name} at this moment; try again$"):
            admin.create([topic])
