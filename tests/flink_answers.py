"""An HTTP server with prepared answers in the place of Flink's REST interface, for states that a real cluster is seldom in."""

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JOB_NAME = "groundswell trends on groundswell.scored"


@contextmanager
def answering(answers: Mapping[str, Any]) -> Iterator[str]:
    """Serve ``answers`` by path for the length of a block; yields the address.

    A list is given out one by one, the last of it ever after; a function is asked each time. A number is a status that refuses;
    None is no answer at all.
    """
    asked = Counter[str]()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = answers[self.path]
            turns = told if isinstance(told, list) else [told() if callable(told) else told]
            answer = turns[min(asked[self.path], len(turns) - 1)]
            asked[self.path] += 1
            if answer is not None:
                self._answer(answer)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def _answer(self, answer: Any) -> None:
            body = json.dumps(answer).encode()
            self.send_response(answer if isinstance(answer, int) else 200)
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
    jobs = [
        {"jid": job_id, "name": JOB_NAME, "state": state, "tasks": {"total": 1, "running": int(state == "RUNNING")}}
        for job_id, state in states.items()
    ]
    each: dict[str, Any] = {f"/jobs/{job_id}": {"state": state} for job_id, state in states.items()}
    each |= {f"/jobs/{job_id}/exceptions": {"exceptionHistory": {"entries": []}} for job_id in states}
    overview = {"flink-version": "2", "taskmanagers": 1}
    return {"/overview": overview, "/jobs/overview": {"jobs": jobs}} | each
