"""Connections that end at a deadline, whatever the other side does.

urllib3's timeout counts anew for every address of a host and for every byte that comes, so a receiver that drips would hold
an attempt for ever. Only the system's resolver is not cut short; it has limits of its own.
"""

import socket
import threading
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Self

import urllib3
from urllib3 import connection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

NO_DELAY: Final = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Deadline:
    """The end of one attempt, ``timeout_s`` from now. Leave it (``with``) once the answer is read."""

    def __init__(self, timeout_s: float) -> None:
        self._ends = monotonic() + timeout_s
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            self._twin.close()

    def left_s(self) -> float:
        """Return how many seconds are left, 0 when it is over."""
        return max(0.0, self._ends - monotonic())

    def over(self) -> bool:
        """Say whether the time is up."""
        return monotonic() >= self._ends

    def bind(self, sock: socket.socket) -> None:
        """Break this connection when the time is up."""
        self._twin = sock.dup()  # of the same connection: TLS takes the original apart, and an answer outlives its socket
        self._timer = threading.Timer(self.left_s(), self._break)
        self._timer.daemon = True
        self._timer.start()

    def _break(self) -> None:
        with suppress(OSError):  # the other side was first
            self._twin.shutdown(socket.SHUT_RDWR)


class HTTPConnection(connection.HTTPConnection):
    """Goes to the first address of its host that answers, within the deadline. Named as urllib3's: it is in messages."""

    def __init__(self, *args: Any, deadline: Deadline, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline = deadline

    def _new_conn(self) -> socket.socket:
        try:
            sock = self._reached()
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            said = f"Connection to {self.host} timed out. (connect timeout={self.timeout})"
            raise ConnectTimeoutError(self, said) from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error
        sock.setsockopt(*NO_DELAY)
        self._deadline.bind(sock)
        return sock

    def _reached(self) -> socket.socket:
        failure = OSError("it has no address")
        for *_, address in socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM):
            if self._deadline.over():
                raise TimeoutError
            try:
                return socket.create_connection((str(address[0]), self.port), self._deadline.left_s())
            except OSError as error:
                failure = error
        raise failure


class HTTPSConnection(HTTPConnection, connection.HTTPSConnection):
    """The same over TLS, whose beginning counts too."""


class HTTPConnectionPool(urllib3.HTTPConnectionPool):
    """Of one connection, for one attempt."""

    ConnectionCls = HTTPConnection


class HTTPSConnectionPool(urllib3.HTTPSConnectionPool):
    """Of one connection, for one attempt."""

    ConnectionCls = HTTPSConnection


POOLS: Final[dict[str, type[urllib3.HTTPConnectionPool]]] = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}
"""By the scheme of an address: where an attempt gets its connection. Each takes a ``deadline``."""
