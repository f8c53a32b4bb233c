from collections.abc import Iterator, Mapping
from types import SimpleNamespace

import pytest
from kafka import TopicPartition as ClientPartition
from kafka import errors

from pipeline.adapters import kafka_admin
from pipeline.adapters.kafka_admin import OFFSETS_TOPIC, KafkaAdmin
from pipeline.adapters.streams import TopicPartition
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.settings import KafkaSettings


class Client:
    """A connection on which nothing is asked: what the library raises in a block is what matters here."""

    def __init__(self, **_options: object) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (errors.NodeNotReadyError("No node_id provided"), Unavailable),  # the broker died after the first question
        (errors.ClusterAuthorizationFailedError(), ConfigurationError),
        (KeyError("no error of Kafka's"), KeyError),
    ],
)
def test_what_the_library_raises_later_on_is_told_in_our_words(
    raised: Exception, expected: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_admin, "require_broker", lambda *_: None)
    monkeypatch.setattr(kafka_admin, "KafkaAdminClient", Client)
    admin = KafkaAdmin(KafkaSettings())
    with pytest.raises(expected), admin:
        raise raised
    assert admin._client.closed


class Waking(Client):
    """A broker that has just started: it refuses before it has read its commits back."""

    refusals: Iterator[errors.KafkaError]
    topics: list[str]

    def list_group_offsets(self, groups: list[str]) -> Mapping[str, object]:
        for refusal in self.refusals:
            raise refusal
        return {groups[0]: {ClientPartition("t", 0): SimpleNamespace(offset=7)}}

    def list_topics(self) -> list[str]:
        return self.topics


def committed_at(refusals: list[errors.KafkaError], topics: list[str], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(kafka_admin, "require_broker", lambda *_: None)
    waking = type("Waking", (Waking,), {"refusals": iter(refusals), "topics": topics})
    monkeypatch.setattr(kafka_admin, "KafkaAdminClient", waking)
    with KafkaAdmin(KafkaSettings()) as admin:
        return admin.committed("g")


def test_commits_that_a_broker_still_reads_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the account of a stack that has just come up would lack them."""
    refusals = [errors.CoordinatorNotAvailableError(), errors.NotCoordinatorError(), errors.CoordinatorLoadInProgressError()]
    assert committed_at(refusals, ["t", OFFSETS_TOPIC], monkeypatch) == {TopicPartition("t", 0): 7}


def test_a_broker_without_its_offsets_topic_has_no_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert committed_at([errors.CoordinatorNotAvailableError()], ["t"], monkeypatch) == {}


def test_commits_that_are_never_read_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_admin, "SHOWN_TIMEOUT_S", 0.0)
    with pytest.raises(Unavailable, match="has not read the commits of group g"):
        committed_at([errors.NotCoordinatorError()], ["t"], monkeypatch)
