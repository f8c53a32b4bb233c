"""An HTTP server with prepared answers in the place of Flink's REST interface, for states that a real cluster is seldom in."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JOB_NAME = "groundswell trends on groundswell.scored"


@contextmanager
def answering(answers: Mapping[str, Any]) -> Iterator[str]:
    """Serve ``answers`` by path for the length of a block; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answers[self.path]).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def cluster_of(**states: str) -> dict[str, Any]:
    """Return the answers of a cluster with one task manager and jobs by id; the tasks of a running one run."""
    jobs = [{"jid": job_id, "name": JOB_NAME, "state": state} for job_id, state in states.items()]
    tasks: dict[str, Any] = {
        f"/jobs/{job_id}": {"state": state, "vertices": [{"status": state}]} for job_id, state in states.items()
    }
    tasks |= {f"/jobs/{job_id}/exceptions": {"exceptionHistory": {"entries": []}} for job_id in states}
    overview = {"flink-version": "2", "taskmanagers": 1}
    return {"/overview": overview, "/jobs/overview": {"jobs": jobs}} | tasks
