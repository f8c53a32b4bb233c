"""Ports for servers that a test starts together."""

from infra.ports import free_port


def free_ports(count: int) -> list[int]:
    """Return that many different ports that nobody listens on now."""
    ports: list[int] = []
    for _ in range(count):
        ports.append(free_port(ports))
    return ports
