import pytest
from kafka import errors

from pipeline.adapters import kafka_admin
from pipeline.adapters.kafka_admin import KafkaAdmin
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
