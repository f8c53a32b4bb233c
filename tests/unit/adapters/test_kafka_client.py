from pathlib import Path
from typing import Any

import pytest
from kafka import errors
from pydantic import SecretStr

from pipeline.adapters import kafka_client
from pipeline.adapters.kafka_client import client_options, require_crc32c, translated
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.settings import KafkaSettings

SASL = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "me", "sasl_password": SecretStr("secret")}
TLS = {"ssl_cafile": Path("ca.pem"), "ssl_certfile": Path("me.pem"), "ssl_keyfile": Path("me.key")}
SASL_OPTIONS = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": "me", "sasl_plain_password": "secret"}
TLS_OPTIONS = {"ssl_cafile": "ca.pem", "ssl_certfile": "me.pem", "ssl_keyfile": "me.key"}


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ("PLAINTEXT", {}),
        ("SSL", TLS_OPTIONS),
        ("SASL_PLAINTEXT", SASL_OPTIONS),
        ("SASL_SSL", SASL_OPTIONS | TLS_OPTIONS),
    ],
)
def test_each_protocol_takes_its_options_and_no_others(protocol: Any, expected: dict[str, str]) -> None:
    settings = KafkaSettings(bootstrap="a:1, b:2", security_protocol=protocol, **SASL, **TLS)
    options = client_options(settings)
    assert options.pop("bootstrap_servers") == ["a:1", "b:2"]
    assert options.pop("security_protocol") == protocol
    assert options.pop("bootstrap_timeout_ms") > 0
    assert options == expected


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ({"sasl_mechanism": None}, "GROUNDSWELL_KAFKA__SASL_MECHANISM = None"),
        ({"sasl_mechanism": "MD5"}, "GROUNDSWELL_KAFKA__SASL_MECHANISM = 'MD5' for SASL_SSL; use one of PLAIN"),
        ({"sasl_username": None}, "set GROUNDSWELL_KAFKA__SASL_USERNAME and GROUNDSWELL_KAFKA__SASL_PASSWORD"),
        ({"sasl_password": None}, "set GROUNDSWELL_KAFKA__SASL_USERNAME and GROUNDSWELL_KAFKA__SASL_PASSWORD"),
    ],
)
def test_what_is_missing_is_named(missing: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        client_options(KafkaSettings(security_protocol="SASL_SSL", **(SASL | missing)))


def test_a_missing_crc32c_is_an_error_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    require_crc32c()
    monkeypatch.setattr(kafka_client, "find_spec", {}.get)
    with pytest.raises(ConfigurationError, match="pip install crc32c"):
        require_crc32c()


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (errors.KafkaTimeoutError("late"), Unavailable),
        (errors.KafkaConnectionError("gone"), Unavailable),
        (errors.OutOfOrderSequenceNumberError(), Unavailable),
        (errors.TopicAuthorizationFailedError("t"), ConfigurationError),
        (errors.SaslAuthenticationFailedError("no"), ConfigurationError),
        (errors.MessageSizeTooLargeError("big"), ConfigurationError),
        (errors.InvalidTimestampError("early"), ConfigurationError),
    ],
)
def test_a_refusal_stops_and_everything_else_may_be_tried_again(error: Exception, ours: type[Exception]) -> None:
    with pytest.raises(ours, match="127.0.0.1:9092.*a test"), translated("a test", KafkaSettings()):
        raise error


def test_a_connection_that_is_never_set_up_sends_the_reader_to_the_credentials() -> None:
    settings = KafkaSettings(bootstrap="broker:9093")
    with pytest.raises(Unavailable, match="check GROUNDSWELL_KAFKA__SECURITY_PROTOCOL"), translated("a producer", settings):
        raise errors.KafkaTimeoutError("Unable to bootstrap from ['broker:9093']")
    with pytest.raises(Unavailable) as other, translated("a flush", settings):
        raise errors.KafkaTimeoutError("no acknowledgement")
    assert "SECURITY_PROTOCOL" not in str(other.value)
