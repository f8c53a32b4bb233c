"""A real HTTP receiver of webhooks for tests, that answers as it is told: well, badly, late, or not at all."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


@dataclass(frozen=True)
class Reply:
    """What to answer. ``hang`` holds the answer back until the receiver closes, ``reset`` breaks the connection."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hang: bool = False
    reset: bool = False


@dataclass(frozen=True)
class Seen:
    """One attempt as it came in."""

    delivery_id: str
    at: float
    headers: dict[str, str]
    body: bytes
    reply: Reply

    @property
    def accepted(self) -> bool:
        return 200 <= self.reply.status < 300 and not (self.reply.hang or self.reply.reset)

    def verify(self, secret: str = SECRET) -> object:
        """Return the decoded body, or raise when the signature is wrong."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver(ThreadingHTTPServer):
    """Remembers every attempt; ``script`` gets the delivery id and how often it came before, and says what to answer."""

    daemon_threads = False  # closing the server waits for its handlers, so that no socket is left to the collector
    request_queue_size = 64

    def __init__(self, script: Callable[[str, int], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = script
        self.seen: list[Seen] = []
        self.closing = threading.Event()
        self.changed = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    def accepted_ids(self) -> list[str]:
        with self.changed:
            return [seen.delivery_id for seen in self.seen if seen.accepted]

    def await_attempts(self, count: int, timeout_s: float = 20.0) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.seen) >= count, timeout_s), f"{len(self.seen)} of {count} attempts"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a sender that was killed leaves broken connections, which is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    timeout = 5.0

    def do_POST(self) -> None:
        receiver = self.server
        body = self.rfile.read(int(self.headers["content-length"]))
        delivery_id = self.headers["webhook-id"]
        with receiver.changed:
            before = sum(seen.delivery_id == delivery_id for seen in receiver.seen)
            reply = receiver.script(delivery_id, before)
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.seen.append(Seen(delivery_id, monotonic(), headers, body, reply))
            receiver.changed.notify_all()
        if reply.hang:
            receiver.closing.wait(30)
            self.close_connection = True
        elif reply.reset:
            self._reset()
        else:
            self._answer(reply)

    def _answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def receiving(script: Callable[[str, int], Reply] = lambda _id, _before: Reply()) -> Iterator[Receiver]:
    """Run a receiver for the length of a ``with``."""
    receiver = Receiver(script)
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.closing.set()
        receiver.shutdown()
        thread.join()
        receiver.server_close()
