"""What every Kafka client of ours shares: the options of a connection, and what the client library's errors mean."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

from kafka import errors

from pipeline.errors import ConfigurationError, Unavailable
from pipeline.settings import KafkaSettings

BOOTSTRAP_TIMEOUT_MS = 10_000
CONNECT_TIMEOUT_S = 5.0
COMMIT_TIMEOUT_MS = 10_000
CLOSE_TIMEOUT_MS = 5_000
LOOKUP_TIMEOUT_MS = 5_000
FETCH: Final[dict[str, Any]] = {
    "max_partition_fetch_bytes": 4 * 2**20,
    "fetch_max_bytes": 32 * 2**20,
    "fetch_min_bytes": 1,
    "fetch_max_wait_ms": 100,
    "max_poll_records": 20_000,
    "check_crcs": True,
    "isolation_level": "read_committed",  # Flink's job takes back what a killed task told since its last checkpoint
}
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
DENIED = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.SaslAuthenticationFailedError,
    errors.KafkaConfigurationError,
    errors.UnsupportedVersionError,
    errors.MessageSizeTooLargeError,
    errors.InvalidTimestampError,
)


def require_crc32c() -> None:
    """Raise ConfigurationError where crc32c is missing: the client then reads at a sixth of the speed, silently."""
    if find_spec("crc32c") is None:
        raise ConfigurationError("package 'crc32c' is missing and Kafka would be read six times slower", "pip install crc32c")


def require_broker(kafka: KafkaSettings, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
    """Raise Unavailable when nobody listens at the address: at once, where the client would try for ten seconds.

    The client also leaks a socket for every attempt that fails.
    """
    if not any(_listens(server.strip(), timeout_s) for server in kafka.bootstrap.split(",")):
        raise Unavailable(f"nobody listens at Kafka's address {kafka.bootstrap}", "start it with: groundswell up")


def _listens(server: str, timeout_s: float) -> bool:
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
    except (OSError, ValueError):
        return False
    return True


def client_options(kafka: KafkaSettings) -> dict[str, Any]:
    """Return kafka-python's options for reaching the brokers: addresses, TLS and SASL. Raises ConfigurationError."""
    options: dict[str, Any] = {
        "bootstrap_servers": [server.strip() for server in kafka.bootstrap.split(",")],
        "bootstrap_timeout_ms": BOOTSTRAP_TIMEOUT_MS,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.startswith("SASL"):
        options |= _sasl(kafka)
    if kafka.security_protocol.endswith("SSL"):
        files = {"ssl_cafile": kafka.ssl_cafile, "ssl_certfile": kafka.ssl_certfile, "ssl_keyfile": kafka.ssl_keyfile}
        options |= {name: str(path) for name, path in files.items() if path is not None}
    return options


def _sasl(kafka: KafkaSettings) -> dict[str, Any]:
    if kafka.sasl_mechanism not in MECHANISMS:
        found = f"GROUNDSWELL_KAFKA__SASL_MECHANISM = {kafka.sasl_mechanism!r}"
        raise ConfigurationError(f"{found} for {kafka.security_protocol}", f"use one of {', '.join(MECHANISMS)}")
    if kafka.sasl_username is None or kafka.sasl_password is None:
        fix = "set GROUNDSWELL_KAFKA__SASL_USERNAME and GROUNDSWELL_KAFKA__SASL_PASSWORD"
        raise ConfigurationError(f"{kafka.security_protocol} needs a user and a password", fix)
    return {
        "sasl_mechanism": kafka.sasl_mechanism,
        "sasl_plain_username": kafka.sasl_username,
        "sasl_plain_password": kafka.sasl_password.get_secret_value(),
    }


@contextmanager
def translated(doing: str, kafka: KafkaSettings) -> Iterator[None]:
    """Turn the library's errors into ours: a refusal is a ConfigurationError, everything else is Unavailable."""
    try:
        yield
    except DENIED as error:
        raise ConfigurationError(f"Kafka at {kafka.bootstrap} refuses {doing}: {error!r}") from error
    except errors.KafkaError as error:
        raise Unavailable(f"Kafka at {kafka.bootstrap} does not answer ({doing}): {error!r}", _advice(error)) from error


def _advice(error: errors.KafkaError) -> str:
    """Say what the library does not: it keeps trying where a password is wrong, and at last calls it a timeout."""
    if "bootstrap" not in str(error):
        return ""
    return "where somebody listens, check GROUNDSWELL_KAFKA__SECURITY_PROTOCOL, the user, the password and the certificates"
