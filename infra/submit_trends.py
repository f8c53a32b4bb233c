"""Keep the trends job on a Flink cluster in Docker; the standard library alone, because Flink's image has no more.

submit_trends.py URL JOB.json CHECKPOINTS    submit it from its newest checkpoint, unless it runs already; end when it is gone
submit_trends.py --job URL JOB.json          exit code 0 while it runs
submit_trends.py --task-managers URL         exit code 0 once a task manager is registered

A job manager that starts again, as after a restart of the machine, knows no job any more. So this ends with exit code 1 when
the job is gone or nobody answers, Docker starts it again, and it submits the job anew.
"""

import json
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path("/opt/groundswell")
LOOK_TIMEOUT_S = 5.0  # of the health check, which asks again
ANSWER_TIMEOUT_S = 30.0  # the job is submitted once: a cluster that has just started on a busy machine is waited for
ENDED = ("FINISHED", "FAILED", "CANCELED")
WATCH_S = 10.0


def main(arguments: Sequence[str]) -> int:
    """Return the exit code."""
    if arguments[0] == "--task-managers":
        return 0 if _ask(f"{arguments[1]}/overview", LOOK_TIMEOUT_S)["taskmanagers"] else 1
    if arguments[0] == "--job":
        return 0 if "RUNNING" in _states(arguments[1], _name(arguments[2]), LOOK_TIMEOUT_S) else 1
    url, job, checkpoints = arguments
    if not _goes_on(url, _name(job)):
        command = submission(url, job, latest_checkpoint(Path(checkpoints)))
        subprocess.run(command, check=True)
    watch(url, _name(job))
    return 1


def watch(url: str, name: str, interval_s: float = WATCH_S) -> None:
    """Return when the job is gone; raise URLError where nobody answers any more."""
    never = threading.Event()
    while _goes_on(url, name):
        never.wait(interval_s)


def _name(job: str) -> str:
    return job_name(json.loads(Path(job).read_text("utf-8")))


def _states(url: str, name: str, timeout_s: float) -> list[str]:
    return [each["state"] for each in _ask(f"{url}/jobs/overview", timeout_s)["jobs"] if each["name"] == name]


def _goes_on(url: str, name: str) -> bool:
    """Tell whether the job runs, or is being started again by Flink itself."""
    return any(state not in ENDED for state in _states(url, name, ANSWER_TIMEOUT_S))


def job_name(job: dict[str, Any]) -> str:
    """Return the name that ``pipeline.jobs.trends_job.TrendsJob`` gives itself."""
    return f"groundswell trends on {job['scored']}"


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint below ``folder``, or None."""
    checkpoints = [each for job in _entries(folder) for each in _entries(job) if each.name.startswith("chk-")]
    completed = {each: _completed_at_ns(each) for each in checkpoints}
    return max((each for each, at_ns in completed.items() if at_ns), key=completed.__getitem__, default=None)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):  # Flink deletes what an ended job needs no more, at any time
        return []


def _completed_at_ns(checkpoint: Path) -> int:
    """Return when it became complete; 0 where it is not, or is gone meanwhile."""
    try:
        return (checkpoint / "_metadata").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def submission(url: str, job: str, checkpoint: Path | None) -> list[str]:
    """Return the command that submits the job, going on from ``checkpoint`` where there is one."""
    resume = [] if checkpoint is None else ["-s", checkpoint.as_uri()]
    address = url.removeprefix("http://")
    connector, code = HERE / "flink-sql-connector-kafka.jar", HERE / "pipeline.zip"
    script = HERE / "pipeline" / "jobs" / "trends_flink.py"
    return [
        "flink",
        "run",
        "--detached",
        "-m",
        address,
        *resume,
        "-j",
        str(connector),
        "-pyfs",
        str(code),
        "-py",
        str(script),
        job,
    ]


def _ask(url: str, timeout_s: float) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
