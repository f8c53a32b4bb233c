"""Ports on the loopback interface."""

import socket
from collections.abc import Collection
from contextlib import suppress

LOOPBACK = "127.0.0.1"


def free_port(promised: Collection[int] = ()) -> int:
    """Return a port that nobody listens on now, and that is not among those ``promised`` to others who do not listen yet.

    For a minute, while Linux remembers a connection to it that was closed, the system gives it to nobody who asks for any free
    port; a server that asks for it by its number has it (with SO_REUSEADDR, which servers set).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        if port in promised:
            return free_port(promised)  # this one is held meanwhile, so that the next one is another
        _connect_once(listener)
        return port


def is_listening(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether something accepts connections on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        # a local port that nobody has may be given to the probe itself, which then reaches nobody but itself
        return probe.connect_ex((host, port)) == 0 and probe.getsockname() != probe.getpeername()


def _connect_once(listener: socket.socket) -> None:
    """Connect to it and let its side close first: that is the side which is remembered.

    Where a stranger comes first, of whom nobody can know, nothing is remembered: the port is free all the same.
    """
    listener.listen(1)
    with suppress(OSError), socket.create_connection(listener.getsockname(), timeout=1.0) as caller:
        listener.accept()[0].close()
        caller.recv(1)
