"""Ports on the loopback interface."""

import socket
from collections.abc import Collection

LOOPBACK = "127.0.0.1"


def free_port(promised: Collection[int] = ()) -> int:
    """Return a port that nobody listens on now, and that is not among those ``promised`` to others who do not listen yet."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return free_port(promised) if port in promised else port  # held meanwhile, so that the next one is another


def is_listening(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether something accepts connections on the port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        # a local port that nobody has may be given to the probe itself, which then reaches nobody but itself
        return probe.connect_ex((host, port)) == 0 and probe.getsockname() != probe.getpeername()
