"""Three questions over HTTP that every process answers: /livez, /readyz and /metrics (Prometheus text)."""

import json
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Final, NamedTuple, Self

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pipeline.errors import ConfigurationError, Unavailable
from pipeline.telemetry import Metrics

ANSWER_TIMEOUT_S: Final = 3.0  # as long as the health checks in Docker wait: a busy process answers late


class Readiness(NamedTuple):
    """Whether a process does its work, and why not."""

    ready: bool
    detail: str = ""


def ask_readiness(host: str, port: int, timeout_s: float = ANSWER_TIMEOUT_S) -> Readiness:
    """Return what the process that listens there says on /readyz. Raises Unavailable where nobody says anything like it."""
    at = f"http://{host}:{port}/readyz"
    connection = HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/readyz")
        told = json.loads(connection.getresponse().read())
        return Readiness(bool(told["ready"]), str(told["detail"]))
    except (OSError, HTTPException) as error:
        raise Unavailable(f"{at} does not answer ({error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{at} answers, and does not say whether it is ready") from error
    finally:
        connection.close()


class HealthServer:
    """Answers on its own threads until closed. Port 0 takes a free one; ``port`` says which."""

    def __init__(self, metrics: Metrics, readiness: Callable[[], Readiness], host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen. ``readiness`` is called from other threads, and before metrics are read. Raises ConfigurationError."""
        handler = type("Handler", (_Handler,), {"metrics": metrics, "readiness": staticmethod(readiness)})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except OSError as error:
            fix = "set GROUNDSWELL_{WORKER,TRENDS,NOTIFY}__METRICS_PORT to another, 0 for a free one"
            raise ConfigurationError(f"metrics port {port} on {host} cannot be used ({error})", fix) from error
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    metrics: Metrics
    readiness: Callable[[], Readiness]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/livez":
            self._answer(200, b'{"live": true}\n', "application/json")
        elif path == "/readyz":
            readiness = self.readiness()
            body = json.dumps(readiness._asdict(), ensure_ascii=False).encode() + b"\n"
            self._answer(200 if readiness.ready else 503, body, "application/json")
        elif path == "/metrics":
            self.readiness()
            self._answer(200, generate_latest(self.metrics.registry), CONTENT_TYPE_LATEST)
        else:
            self._answer(404, b"ask for /livez, /readyz or /metrics\n", "text/plain; charset=utf-8")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: probes come every few seconds."""

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
