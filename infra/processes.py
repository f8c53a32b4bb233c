"""Start, find and stop the processes of a stack, and only those.

Every process is started in a session of its own with a marker in its environment, which its children inherit. The marker
names the stack and the service, so that what a crashed parent left behind (Flink's Python workers outlive a killed
TaskManager) is found again, and a recycled process id is never taken for ours.
"""

import ctypes
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

import psutil

from pipeline.adapters.waiting import wait_until
from pipeline.environment import STACK_PROCESS
from pipeline.errors import Stop, Unavailable
from pipeline.log_files import turn_over

MARKER: Final = STACK_PROCESS
TAIL_LINES: Final = 15
KILL_TIMEOUT_S: Final = 20.0  # a process cannot refuse SIGKILL, but a busy machine takes its time
KILL_LOOK_S: Final = 0.2  # after it, what is left is looked for again
SAME_START_S: Final = 0.5  # psutil derives start times from clock ticks: they agree to a hundredth of a second


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: name of the service, argument list, additions to the environment, and its log.

    The log takes its output, unless it ``writes_log`` itself, and bounds it: then NAME.out takes what it prints beside that.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str]
    cwd: Path | None = None
    writes_log: bool = False

    @property
    def output(self) -> Path:
        """Return the file that takes what it prints."""
        return beside(self.log) if self.writes_log else self.log


@dataclass(frozen=True, slots=True)
class Started:
    """A process of ours, as kept in HOME/run: enough to know it again."""

    name: str
    pid: int
    started_s: float
    marker: str
    log: str

    def as_dict(self) -> dict[str, object]:
        """Return the fields for JSON."""
        return asdict(self)


def start(command: Command, owner: str, *, die_with_parent: bool = False) -> Started:
    """Start ``command`` detached, its output appended to its log; a log that has grown too long becomes NAME.log.1.

    ``owner`` names the stack (its home): together with the service's name it is the marker. With ``die_with_parent``
    (tests) Linux ends the process when this one dies, however that happens.
    """
    marker = f"{owner}#{command.name}"
    command.log.parent.mkdir(parents=True, exist_ok=True)
    turn_over(command.log)
    if command.writes_log:
        turn_over(command.output, over_bytes=0)  # so that nobody takes an earlier one's last words for its
    with command.output.open("ab") as output:
        process = subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **command.env, MARKER: marker},
            cwd=command.cwd,
            start_new_session=True,
            preexec_fn=_end_with_parent if die_with_parent else None,
        )
    started_s = psutil.Process(process.pid).create_time()
    process.returncode = 0  # the child outlives this object on purpose; psutil looks after it from here
    return Started(command.name, process.pid, started_s, marker, str(command.log))


class Startable(Protocol):
    """A server that can be started: a broker, a Redis, a part of Flink."""

    def command(self) -> Command:
        """Return how to start it."""

    def ready(self) -> bool:
        """Tell whether it does its work."""


@contextmanager
def running(server: Startable, owner: str, timeout_s: float = 200.0) -> Iterator[Started]:
    """Run a prepared server for the length of a block, tied to this process; however the block ends, the server ends."""
    process = start(server.command(), owner, die_with_parent=True)
    try:
        wait_ready(process, server.ready, timeout_s)
        yield process
    finally:
        stop(process)


def is_alive(process: Started) -> bool:
    """Tell whether this very process still runs: same id, not a zombie, and the same start or our marker.

    (A step of the machine's clock moves all start times; the marker settles that.)
    """
    return _living(process) is not None


def members(marker: str) -> list[psutil.Process]:
    """Return every process of this account that carries ``marker``: the service, its children, and orphans of both."""
    return [found for found, carried in _marked() if carried == marker]


def owned(owner: str) -> list[Started]:
    """Return every process of this account that was started for ``owner``, remembered or not."""
    found = (_started(each, carried) for each, carried in _marked() if carried.startswith(f"{owner}#"))
    return [each for each in found if each is not None]


def stop(process: Started, timeout_s: float = 20.0, first: signal.Signals = signal.SIGTERM) -> int:
    """End the process and all that carries its marker: ``first``, then SIGKILL after ``timeout_s``. Returns how many ended.

    The signal goes to the service itself first, so that it shuts down in its own order; what is left afterwards (orphans)
    is ended directly, until a look finds none: one of them may just be starting another. Raises Stop if one survives SIGKILL.
    """
    leader = _living(process)
    ended = {each.pid for each in _all_of(process)}
    if leader is not None:
        _signal([leader], first)
        wait_until(lambda: not is_alive(process), timeout_s)
    in_time = wait_until(lambda: _none_is_left(process, ended), KILL_TIMEOUT_S)
    psutil.wait_procs([] if leader is None else [leader], timeout=0)  # where it is a child of ours, it is a zombie no longer
    if not in_time:
        left = ",".join(str(each.pid) for each in _all_of(process))
        raise Stop(f"process {left} of {process.name} survives SIGKILL; look at it with: ps -fp {left}")
    return len(ended)


def wait_ready(process: Started, ready: Callable[[], bool], timeout_s: float) -> None:
    """Wait until ``ready`` answers True; raise Unavailable with the log's tail when the process dies or time runs out."""

    def ready_or_dead() -> bool:
        return not is_alive(process) or ready()

    in_time = wait_until(ready_or_dead, timeout_s)
    if in_time and is_alive(process):
        return
    problem = f"is not ready after {timeout_s:g} s" if not in_time else "ended while starting"
    raise Unavailable(f"{process.name} {problem}. {_last_words(Path(process.log))}")


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, or a word that there are none."""
    if not path.is_file():
        return "(no log)"
    text = path.read_text("utf-8", "replace").splitlines()
    return "\n".join(text[-lines:]) or "(empty log)"


def beside(log: Path) -> Path:
    """Return the file that takes what a process prints that writes its log itself."""
    return log.with_suffix(".out")


def run(argv: Sequence[str], env: Mapping[str, str], timeout_s: float, what: str) -> str:
    """Run a command to its end and return its output; raise Stop with the output's tail when it fails or takes too long."""
    try:
        result = subprocess.run(argv, env={**os.environ, **env}, timeout=timeout_s, capture_output=True, text=True, check=False)
    except subprocess.TimeoutExpired as problem:
        raise Stop(f"{what} was not done after {timeout_s:g} s; try again when the machine is less busy") from problem
    output = result.stdout + result.stderr
    if result.returncode != 0:
        raise Stop(f"{what} failed (exit code {result.returncode}):\n{_telling(output)}")
    return output


def _last_words(log: Path) -> str:
    """Return the end of a log, and of what was printed beside it: there a Java says why it never came to its log."""
    files = [each for each in (log, beside(log)) if each == log or (each.is_file() and each.stat().st_size)]
    return "\n".join(f"The end of {each}:\n{tail(each)}" for each in files)


def _telling(output: str) -> str:
    """Return a failed command's first Python traceback (Flink's client buries it under Java's), else the last lines."""
    traceback = re.search(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)*.*", output, re.MULTILINE)
    return traceback[0] if traceback else "\n".join(output.splitlines()[-TAIL_LINES:])


def _living(process: Started) -> psutil.Process | None:
    """Return this very process as long as it runs. See ``is_alive``."""
    try:
        found = psutil.Process(process.pid)
        same = abs(found.create_time() - process.started_s) < SAME_START_S or _marker_of(found, os.getuid()) == process.marker
        return found if same and not _has_ended(found) else None
    except psutil.NoSuchProcess:
        return None


def _has_ended(process: psutil.Process) -> bool:
    """Tell whether it is a zombie through and through: of a process with threads the first may be one while others still hold
    its port.
    """
    return process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1


def _all_of(process: Started) -> set[psutil.Process]:
    leader = _living(process)
    return {*members(process.marker), *([] if leader is None else [leader])}


def _none_is_left(process: Started, ended: set[int]) -> bool:
    """Kill what is left of a process; tell whether there was none, and add what there was to ``ended``.

    A zombie counts as ended: its parent, the first process of a container perhaps, may be slow to look after it, or never do.
    """
    left = _all_of(process)
    ended.update(each.pid for each in left)
    _signal(left, signal.SIGKILL)
    psutil.wait_procs(left, timeout=KILL_LOOK_S)
    return not left


def _started(process: psutil.Process, marker: str) -> Started | None:
    """Return what is known of a process that nobody remembers; None where it ends meanwhile."""
    try:
        return Started(marker.rpartition("#")[2], process.pid, process.create_time(), marker, "")
    except psutil.NoSuchProcess:
        return None


def _end_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent dies (prctl PR_SET_PDEATHSIG = 1); elsewhere do nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _marked() -> Iterator[tuple[psutil.Process, str]]:
    """Yield the living processes of this account with their markers."""
    mine = os.getuid()
    for process in psutil.process_iter():
        marker = _marker_of(process, mine)
        if marker is not None:
            yield process, marker


def _marker_of(process: psutil.Process, uid: int) -> str | None:
    try:
        if process.uids().real != uid or process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.environ().get(MARKER)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def _signal(processes: Collection[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
