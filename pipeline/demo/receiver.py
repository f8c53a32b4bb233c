"""A webhook receiver on this machine: verifies every signature, as a customer's would, and remembers what came."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook, WebhookVerificationError


@dataclass(frozen=True, slots=True)
class Webhooked:
    """One webhook as it arrived. ``type`` and ``entity`` are empty where the signature was wrong."""

    delivery_id: str
    verified: bool
    type: str = ""
    entity: str = ""


class LocalReceiver(ThreadingHTTPServer):
    """Listens on a free port of the loopback interface; answers 204 to what verifies and 401 to what does not."""

    daemon_threads = False  # closing the server waits for its handlers

    def __init__(self, secret: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._verifier = Webhook(secret)
        self._lock = threading.Lock()
        self._received: list[Webhooked] = []

    @property
    def url(self) -> str:
        """Return the address to send to."""
        return f"http://127.0.0.1:{self.server_address[1]}/webhooks"

    @property
    def received(self) -> list[Webhooked]:
        """Return everything that arrived so far, in order."""
        with self._lock:
            return list(self._received)

    def verified(self) -> int:
        """Return the number of different webhooks whose signature was right."""
        return len({one.delivery_id for one in self.received if one.verified})

    def take(self, body: bytes, headers: dict[str, str]) -> bool:
        """Verify one request and remember it; say whether its signature was right."""
        delivery_id = headers.get("webhook-id", "")
        try:
            self._verifier.verify(body, headers, json_parse=False)
        except (WebhookVerificationError, ValueError):
            came = Webhooked(delivery_id, verified=False)
        else:
            message = json.loads(body)
            came = Webhooked(delivery_id, True, message["type"], message["data"]["entity"])
        with self._lock:
            self._received.append(came)
        return came.verified


class _Handler(BaseHTTPRequestHandler):
    server: LocalReceiver
    timeout = 5.0

    def do_POST(self) -> None:
        """Take one webhook."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        verified = self.server.take(body, {name.lower(): value for name, value in self.headers.items()})
        self.send_response(204 if verified else 401)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the demo has a view of its own."""


@contextmanager
def receiving(secret: str) -> Iterator[LocalReceiver]:
    """Run a receiver for the length of a ``with``."""
    receiver = LocalReceiver(secret)
    thread = threading.Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()
