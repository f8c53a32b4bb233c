"""Flink's REST interface: what runs, how it fares, and how it is stopped without losing its state."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import urllib3

from pipeline.adapters.waiting import wait_for_answer
from pipeline.errors import Unavailable

TIMEOUT_S: Final = 5.0
FINAL_STATES: Final = ("FINISHED", "FAILED", "CANCELED")
OWN_WORDS: Final = re.compile(r"pipeline\.errors\.(\w+: .+)")  # in the trace of a Python task, below much of Java
MAX_CAUSE_CHARS: Final = 2_000


@dataclass(frozen=True, slots=True)
class FlinkJob:
    """One job of the cluster. ``state`` is Flink's word: RUNNING, RESTARTING, FINISHED, FAILED …

    ``tasks_run``: every task of it runs; the job itself is called RUNNING while its tasks still start.
    """

    job_id: str
    name: str
    state: str
    tasks_run: bool

    @property
    def has_ended(self) -> bool:
        """Tell whether it is over, whichever way."""
        return self.state in FINAL_STATES


@dataclass(frozen=True, slots=True)
class FlinkOverview:
    """What a cluster is made of."""

    version: str
    task_managers: int


class FlinkRest:
    """A session cluster by its REST address. Every method raises Unavailable where it does not answer."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._pool = urllib3.PoolManager(timeout=timeout_s, retries=False)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def overview(self) -> FlinkOverview:
        """Return its version and how many task managers it has."""
        found = self._request("GET", "/overview")
        return FlinkOverview(found["flink-version"], found["taskmanagers"])

    def jobs(self) -> list[FlinkJob]:
        """Return all jobs that the cluster remembers, also ended ones, as they are now."""
        found = self._request("GET", "/jobs/overview")["jobs"]
        return [FlinkJob(each["jid"], each["name"], each["state"], _all_run(each["tasks"])) for each in found]

    def job(self, job_id: str) -> FlinkJob:
        """Return one job as it is now. Raises Unavailable where the cluster does not know it."""
        found = next((job for job in self.jobs() if job.job_id == job_id), None)
        if found is None:
            raise Unavailable(f"Flink at {self.url} knows no job {job_id}")
        return found

    def state(self, job_id: str) -> str:
        """Return the state of one job, up to three seconds old: so long Flink keeps what it tells of one job alone."""
        state: str = self._request("GET", f"/jobs/{job_id}")["state"]
        return state

    def duration_ms(self, job_id: str) -> int:
        """Return for how long a job has run, or ran, in milliseconds."""
        duration: int = self._request("GET", f"/jobs/{job_id}")["duration"]
        return duration

    def exceptions(self, job_id: str) -> str:
        """Return the last failure of a job as Flink tells it, or an empty text."""
        history = self._request("GET", f"/jobs/{job_id}/exceptions").get("exceptionHistory", {}).get("entries", [])
        return str(history[0]["stacktrace"]) if history else ""

    def cause(self, job_id: str) -> str:
        """Return why a job last failed: this project's own words where it raised the error, else how Flink's begin."""
        told = self.exceptions(job_id)
        own = OWN_WORDS.findall(told)
        return str(own[-1]) if own else told[:MAX_CAUSE_CHARS]

    def checkpoints(self, job_id: str) -> dict[str, Any]:
        """Return Flink's checkpoint statistics: counts, latest completed, latest restored."""
        return self._request("GET", f"/jobs/{job_id}/checkpoints")

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job, without a savepoint."""
        self._request("PATCH", f"/jobs/{job_id}?mode=cancel")

    def stop_with_savepoint(self, job_id: str, folder: str, timeout_s: float) -> str:
        """Stop a job after its state is written under ``folder``; return the savepoint's path.

        Raises Unavailable when the savepoint fails or is not done in time: then the job may still run. A moment without an
        answer is waited out: the job ends all the same, and who gave up would take it for one that never ran. The trigger
        is ours, so that Flink takes what is asked twice for the same.
        """
        wanted = {"targetDirectory": folder, "drain": False, "triggerId": uuid4().hex}
        trigger: list[str] = []
        answer: dict[str, Any] = {}

        def completed() -> bool:
            if not trigger:
                trigger.append(self._request("POST", f"/jobs/{job_id}/stop", wanted)["request-id"])
            answer.update(self._request("GET", f"/jobs/{job_id}/savepoints/{trigger[0]}"))
            return bool(answer["status"]["id"] == "COMPLETED")

        if not wait_for_answer(completed, timeout_s, interval_s=0.1):
            raise Unavailable(f"the savepoint of job {job_id} was not done after {timeout_s:g} s")
        location = answer["operation"].get("location")
        if location is None:
            cause = answer["operation"].get("failure-cause", {}).get("stack-trace", "no cause given")
            raise Unavailable(f"the savepoint of job {job_id} failed: {cause.splitlines()[0]}")
        return str(location)

    def wait_for(self, job_id: str, state: str, timeout_s: float) -> None:
        """Wait until the job is in ``state``; raise Unavailable when it ends otherwise or time runs out.

        Flink may refuse or be silent for a moment, as while a job changes hands or the machine is busy: it is asked again.
        """
        seen = ""

        def settled() -> bool:
            nonlocal seen
            seen = self.state(job_id)
            return seen == state or seen in FINAL_STATES

        wait_for_answer(settled, timeout_s, interval_s=0.2)
        if seen != state:
            raise Unavailable(f"job {job_id} is {seen}, not {state}. {self.cause(job_id)}")

    def _request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = self._pool.request(method, self.url + path, json=body)
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(
                f"Flink at {self.url} does not answer: {type(error).__name__}", "start it with: groundswell up"
            ) from error
        if response.status >= 400:
            raise Unavailable(
                f"Flink refuses {method} {path} with {response.status}: {response.data[:500].decode('utf-8', 'replace')}"
            )
        try:
            answer: dict[str, Any] = json.loads(response.data or b"{}")
        except ValueError as error:  # after a restart of the machine anybody may listen on the port
            raise Unavailable(f"{self.url} answers, and is no Flink", "end it, then: groundswell up") from error
        return answer


def _all_run(tasks: Mapping[str, int]) -> bool:
    return 0 < tasks["total"] == tasks["running"]
