import socket

from infra.ports import LOOPBACK, free_port, is_listening
from tests.ports import free_ports


def test_ports_asked_for_together_are_different() -> None:
    assert len(set(free_ports(50))) == 50


def test_a_promised_port_is_not_given_away() -> None:
    promised = set(free_ports(1_000))
    assert promised.isdisjoint(free_port(promised) for _ in range(200))


def test_a_free_port_is_given_to_nobody_else_until_its_server_asks_for_it() -> None:
    """Kafka takes seconds to start, and others ask for any free port meanwhile."""
    ours = free_ports(300)
    assert set(ours).isdisjoint(given_by_the_system() for _ in range(3_000))
    for port in ours:
        assert not is_listening(port)
        with socket.create_server((LOOPBACK, port)):
            assert is_listening(port)


def given_by_the_system() -> int:
    with socket.socket() as anybody:
        anybody.bind((LOOPBACK, 0))
        port: int = anybody.getsockname()[1]
        return port


def test_who_listens_is_heard_and_a_probe_that_reaches_itself_is_not() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        assert is_listening(port)
    assert not is_listening(port)


def test_a_probe_never_takes_itself_for_a_server() -> None:
    """The system gives a probe any local port, sooner or later the one that it asks for: then it connects to itself."""
    with socket.socket() as alone:
        alone.bind((LOOPBACK, 0))
        port = alone.getsockname()[1]
        assert alone.connect_ex((LOOPBACK, port)) == 0
        assert alone.getsockname() == alone.getpeername()
