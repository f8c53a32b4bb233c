"""`trends` where its topics are not there: told at once and by name, not by Flink when the time for its start is over."""

import shlex
from pathlib import Path

import pytest

from infra.home import Home
from infra.provision import expected_topics
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.commands.trends import trends
from pipeline.errors import ConfigurationError
from pipeline.settings import KafkaSettings
from pipeline.topics import ALERTS, DEAD_LETTERS, EVENTS, LATE, POSTS, SCORED, TRENDS

pytestmark = pytest.mark.integration


@pytest.fixture
def place(tmp_path: Path, kafka_bootstrap: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A stack on the broker of the tests, under a prefix without topics, whose Flink nobody should ask."""
    monkeypatch.setenv("GROUNDSWELL_KAFKA__BOOTSTRAP", kafka_bootstrap)
    monkeypatch.setenv("GROUNDSWELL_KAFKA__TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("GROUNDSWELL_CACHE", "/proc/nope")  # a Flink that were built first would fail there
    made = Home(tmp_path / "home")
    made.update(flink={"rest_url": "http://127.0.0.1:1"})
    return made


def refused(place: Home, *, flink: bool) -> str:
    with pytest.raises(ConfigurationError) as caught:
        trends(place.folder, flink=flink)
    return str(caught.value)


@pytest.mark.parametrize("flink", [True, False], ids=["flink", "in-process"])
def test_a_prefix_that_was_never_provisioned_is_named_with_its_topics_and_the_command(
    place: Home, topic_prefix: str, kafka_bootstrap: str, flink: bool
) -> None:
    names = ", ".join(each.full_name(topic_prefix) for each in (SCORED, TRENDS, ALERTS, LATE, DEAD_LETTERS))
    assert refused(place, flink=flink) == (
        f"GROUNDSWELL_KAFKA__TOPIC_PREFIX = {topic_prefix!r}: Kafka at {kafka_bootstrap} has no topic {names}; create it: "
        f"GROUNDSWELL_KAFKA__TOPIC_PREFIX={topic_prefix} groundswell provision --home {shlex.quote(str(place.folder))}"
    )


def test_only_what_is_missing_is_named(place: Home, topic_prefix: str, kafka_bootstrap: str) -> None:
    unused = {topic.full_name(topic_prefix) for topic in (POSTS, EVENTS, LATE)}
    with KafkaAdmin(KafkaSettings(bootstrap=kafka_bootstrap)) as admin:
        admin.create(each for each in expected_topics(topic_prefix, 1) if each.name not in unused)
    assert f"has no topic {LATE.full_name(topic_prefix)}; create it" in refused(place, flink=True)
