"""The fate of what Redis may answer: a refused login stops the process, what may pass is tried again by the caller."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from pipeline.errors import ConfigurationError, Unavailable

_PASSING = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
)


@contextmanager
def answering(fix: str = "") -> Iterator[None]:
    """Raise ConfigurationError for a refused login, Unavailable for what may pass; ``fix`` stands behind the latter's words."""
    try:
        yield
    except redis.exceptions.AuthenticationError as error:  # to redis-py a kind of ConnectionError
        raise ConfigurationError(f"Redis refuses the login ({error})", "set GROUNDSWELL_REDIS__URL") from error
    except _PASSING as error:
        raise Unavailable(f"Redis does not answer: {error}", fix) from error
