"""Receivers that never come to an end: the attempt does."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic

import pytest

from pipeline.adapters.webhook import WebhookReceiver
from pipeline.core.delivery import Answer, Outcome
from tests.receivers import SECRET

TIMEOUT_S = 0.5
ANSWERED_S = 2.0  # for what is to be heard in time: half a second is less than a loaded machine may take to answer
AT_MOST_S = 10.0  # a loaded machine is no reason to fail; without a deadline it takes two minutes
PIECES = 2400
CHUNKED = b"HTTP/1.1 503 Later\r\nretry-after: 7\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"


@contextmanager
def dripping(beginning: bytes, piece: bytes) -> Iterator[int]:
    """Run a server at a port of 127.0.0.1 that answers with ``beginning`` and then one ``piece`` every 50 ms."""
    closing = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(65_536)
            connection.sendall(beginning)
            for _ in range(PIECES):
                if closing.wait(0.05):
                    break
                connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            closing.set()
            thread.join()


def attempt(url: str, timeout_s: float = TIMEOUT_S) -> Answer:
    begun = monotonic()
    answer = WebhookReceiver(url, [SECRET], timeout_s, allow_http=True).send("a1.0", b"{}", 1_700_000_000_000)
    assert monotonic() - begun < AT_MOST_S
    return answer


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [(b"", b"H"), (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"), (b"", b"HTTP/1.1 100 Continue\r\n\r\n")],
    ids=["status", "headers", "continue"],
)
def test_an_answer_that_drips_is_a_timeout(beginning: bytes, piece: bytes) -> None:
    with dripping(beginning, piece) as port:
        answer = attempt(f"http://127.0.0.1:{port}/")
    assert answer == Answer(Outcome.TIMEOUT, excerpt="no whole answer within 0.5 s")


def test_a_tls_handshake_that_drips_is_a_timeout() -> None:
    with dripping(b"\x16\x03\x03\x40\x00", b"\x00") as port:
        assert attempt(f"https://127.0.0.1:{port}/").outcome is Outcome.TIMEOUT


def test_of_a_body_that_drips_the_status_counts() -> None:
    with dripping(CHUNKED, b"0") as port:  # a chunk's size without an end
        assert attempt(f"http://127.0.0.1:{port}/", ANSWERED_S) == Answer(Outcome.THROTTLED, 503, 7.0)


def test_the_addresses_of_a_host_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def known(host: str, port: int, *args: int, **options: int) -> object:
        if host != "two.example":
            return real(host, port, *args, **options)
        return [found for each in ("127.0.0.2", "127.0.0.1") for found in real(each, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", known)
    with dripping(b"HTTP/1.1 204 No Content\r\n\r\n", b"") as port:
        assert attempt(f"http://two.example:{port}/", ANSWERED_S) == Answer(Outcome.DELIVERED, 204)


@pytest.mark.parametrize(("addresses", "outcome"), [(0, Outcome.CONNECTION_FAILED), (40, Outcome.TIMEOUT)])
def test_the_addresses_of_a_host_share_the_time(addresses: int, outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[float] = []

    def never(_address: object, timeout: float) -> socket.socket:
        tried.append(timeout)
        threading.Event().wait(timeout / 2)
        raise OSError("no route")

    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"192.0.2.{n}", 443)) for n in range(addresses)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
    monkeypatch.setattr(socket, "create_connection", never)
    assert attempt("https://many.example/").outcome is outcome
    assert sum(tried) <= 2 * TIMEOUT_S
    assert tried == sorted(tried, reverse=True)
