"""A client of Redis, and the fate of what it may answer: what somebody must set right stops the process, what may pass is
tried again by the caller.
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

_ADDRESS: Final = "set GROUNDSWELL_REDIS__URL"
_REFUSED: Final = {  # how answers begin that stay the same until somebody changes a setting
    "DENIED ": "give Redis a password, or let it listen to this machine alone",
    "DB index ": "name a database that it has in GROUNDSWELL_REDIS__URL, as redis://HOST:6379/0 does",
}


def make_client(url: str, timeout_s: float, **options: Any) -> "redis.Redis":
    """Return a client that gives up after ``timeout_s``. Raises ConfigurationError for an address that is none."""
    try:
        return redis.Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, **options)
    except ValueError:  # whose words may quote a part of the password
        fix = "write it as redis://HOST:6379/0, with rediss:// for TLS, or unix:///PATH"
        raise ConfigurationError("GROUNDSWELL_REDIS__URL is no address of a Redis", fix) from None


@contextmanager
def answering(fix: str = "") -> Iterator[None]:
    """Raise ConfigurationError for a refusal and for what is no Redis of its own, Unavailable for what may pass, with ``fix``.

    Any other error stays what it is.
    """
    try:
        yield
    except redis.exceptions.AuthenticationError as error:  # to redis-py a kind of ConnectionError
        raise ConfigurationError(f"Redis refuses the login ({error})", _ADDRESS) from error
    except redis.exceptions.NoPermissionError as error:
        fix = "allow it to this user, or name another one in GROUNDSWELL_REDIS__URL"
        raise ConfigurationError(f"Redis does not let this user: {_answer(error)}", fix) from error
    except redis.exceptions.AskError as error:  # and MOVED, a kind of it
        raise ConfigurationError("this Redis is one node of a cluster", f"{_ADDRESS} to a Redis of its own") from error
    except redis.exceptions.InvalidResponse as error:
        raise ConfigurationError(f"what answers there is no Redis ({error})", _ADDRESS) from error
    except _PASSING as error:
        raise Unavailable(f"Redis does not answer: {error}", fix) from error
    except redis.exceptions.ResponseError as error:
        answer = _answer(error)
        for begin, mend in _REFUSED.items():
            if answer.startswith(begin):
                raise ConfigurationError(f"Redis refuses: {answer}", mend) from error
        if not answer.startswith(_PASSING_CODES):
            raise
        raise Unavailable(f"Redis does not answer: {answer}", fix) from error


def _answer(error: redis.exceptions.ResponseError) -> str:
    """Return what Redis said; in a pipeline the command stands before it."""
    return str(error).rpartition(" caused error: ")[2]
