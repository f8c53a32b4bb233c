"""A client of Redis, and the fate of what it may answer: a refused login stops the process, what may pass is tried again by
the caller.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis

from pipeline.errors import ConfigurationError, Unavailable

_PASSING = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
    redis.exceptions.ClusterDownError,  # and MASTERDOWN, a kind of it
    redis.exceptions.TryAgainError,
)
_PASSING_CODES: Final = ("MISCONF ", "NOREPLICAS ", "BUSY ", "MASTERDOWN ", "CLUSTERDOWN ")  # redis-py has no class for most


def make_client(url: str, timeout_s: float, **options: Any) -> "redis.Redis":
    """Return a client that gives up after ``timeout_s``. Raises ConfigurationError for an address that is none."""
    try:
        return redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, **options)
    except ValueError:  # whose words may quote a part of the password
        fix = "write it as redis://HOST:6379/0, with rediss:// for TLS, or unix:///PATH"
        raise ConfigurationError("GROUNDSWELL_REDIS__URL is no address of a Redis", fix) from None


@contextmanager
def answering(fix: str = "") -> Iterator[None]:
    """Raise ConfigurationError for a refused login, Unavailable for what may pass; ``fix`` stands behind the latter's words."""
    try:
        yield
    except redis.exceptions.AuthenticationError as error:  # to redis-py a kind of ConnectionError
        raise ConfigurationError(f"Redis refuses the login ({error})", "set GROUNDSWELL_REDIS__URL") from error
    except _PASSING as error:
        raise Unavailable(f"Redis does not answer: {error}", fix) from error
    except redis.exceptions.ResponseError as error:
        answer = str(error).rpartition(" caused error: ")[2]  # in a pipeline the command stands before it
        if not answer.startswith(_PASSING_CODES):
            raise
        raise Unavailable(f"Redis does not answer: {answer}", fix) from error
