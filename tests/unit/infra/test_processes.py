"""Real processes of the test's own: found by marker, ended with what they left behind, and never mistaken for others."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from infra.processes import Command, Started, is_alive, members, owned, run, start, stop, tail, wait_ready
from pipeline.adapters.waiting import wait_until
from pipeline.environment import STACK_LOG
from pipeline.errors import Stop, Unavailable
from pipeline.log_files import LOG_BYTES

FOREVER = "import threading; threading.Event().wait()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {FOREVER}"
WITH_CHILD = (
    "import subprocess, sys, threading; "
    f"subprocess.Popen([sys.executable, '-c', {FOREVER!r}], start_new_session=True); print('born', flush=True); "
    "threading.Event().wait()"
)

RESTLESS = """
import os, threading
wait = threading.Event().wait
for _ in range(8):
    if os.fork() == 0:
        break
else:
    print('born', flush=True)
    wait()
for _ in range(40):
    wait(0.02)
    if os.fork():
        wait(10)
        os._exit(0)
"""
HEADLESS = """
import ctypes, platform, signal, threading
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
threading.Thread(target=threading.Event().wait).start()
print('born', flush=True)
signal.sigwait({signal.SIGUSR1})
ctypes.CDLL(None).syscall({'x86_64': 60}.get(platform.machine(), 93), 0)
"""  # exit of this one thread, once it is told
TALKATIVE = """
import sys, threading
from pipeline.environment import stack_log
from pipeline.log_files import LOG_BYTES
from pipeline.telemetry import setup_logging
import logging, structlog
setup_logging("json", "INFO", stack_log())
print("x" * LOG_BYTES, file=sys.stderr)
structlog.get_logger().info("ours")
print("y" * LOG_BYTES, file=sys.stderr)
logging.getLogger("library").warning("theirs")
print("beside", file=sys.stderr)
"""
FERTILE = "import os\nprint('born', flush=True)\nwhile True:\n    if os.fork() == 0: os._exit(0)\n    os.wait()"


class Processes:
    """Starts processes for one test and ends what is left of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Started] = []

    def start(self, name: str, code: str, says: str = "") -> Started:
        command = Command(name, (sys.executable, "-c", code), self.folder / f"{name}.log", env={"EXTRA": "x"})
        process = start(command, str(self.folder))
        self.started.append(process)
        # Its environment is there a moment after the process.
        assert wait_until(lambda: members(process.marker) != [] or not is_alive(process), 10)
        if says:
            assert wait_until(lambda: says in command.log.read_text("utf-8"), 20)
        return process


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    made = Processes(tmp_path)
    yield made
    for process in made.started:
        stop(process, 5)


def test_stops_what_it_started_and_counts_it(processes: Processes) -> None:
    process = processes.start("one", FOREVER)
    assert is_alive(process)
    assert [each.pid for each in members(process.marker)] == [process.pid]
    assert stop(process, 20) == 1
    assert not is_alive(process)
    assert stop(process) == 0


def test_ends_a_process_that_ignores_the_polite_signal(processes: Processes) -> None:
    process = processes.start("deaf", DEAF, says="deaf")
    assert stop(process, 0.3) == 1
    assert not is_alive(process)


@pytest.mark.slow
def test_ends_what_comes_into_being_while_it_looks(processes: Processes) -> None:
    """As a Flink worker does that was just being started: it stands in no list made before."""
    process = processes.start("restless", RESTLESS, says="born")
    assert stop(process, 20) > 8
    assert members(process.marker) == []


@pytest.mark.slow
def test_what_ends_while_it_is_looked_at_is_passed_over(processes: Processes, tmp_path: Path) -> None:
    process = processes.start("fertile", FERTILE, says="born")
    for _ in range(300):
        assert process.pid in {each.pid for each in owned(str(tmp_path))}


@pytest.mark.slow
def test_finds_orphans_of_a_killed_parent_even_in_sessions_of_their_own(processes: Processes) -> None:
    parent = processes.start("parent", WITH_CHILD, says="born")
    assert wait_until(lambda: len(members(parent.marker)) == 2, 10)
    os.kill(parent.pid, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(parent), 10)
    (orphan,) = members(parent.marker)
    assert orphan.pid != parent.pid
    stop(parent, 10)
    assert members(parent.marker) == []


def test_leaves_other_stacks_and_services_alone(processes: Processes, tmp_path: Path) -> None:
    mine, neighbour = processes.start("worker-1", FOREVER), processes.start("worker-10", FOREVER)
    stop(mine, 10)
    assert is_alive(neighbour)


def test_finds_what_belongs_to_a_stack_even_if_nobody_remembers_it(processes: Processes, tmp_path: Path) -> None:
    process = processes.start("worker-1", FOREVER)
    (found,) = owned(str(tmp_path))
    assert (found.name, found.pid, found.marker) == ("worker-1", process.pid, process.marker)
    assert owned(str(tmp_path.parent)) == []


def test_a_recycled_process_id_is_neither_alive_nor_ended(processes: Processes) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", FOREVER])
    try:
        recycled = Started("kafka", stranger.pid, psutil.Process(stranger.pid).create_time() - 100, "elsewhere#kafka", "")
        assert not is_alive(recycled)
        assert stop(recycled, 1) == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_step_of_the_clock_does_not_make_a_living_process_dead(processes: Processes) -> None:
    process = processes.start("one", FOREVER)
    assert is_alive(replace(process, started_s=process.started_s - 3600))


def test_a_process_lives_until_its_last_thread_has_ended(processes: Processes) -> None:
    """Its first thread is a zombie while others still hold its port: too early for a successor."""
    process = processes.start("headless", HEADLESS, says="born")
    headless = psutil.Process(process.pid)
    headless.send_signal(signal.SIGUSR1)
    assert wait_until(lambda: headless.status() == psutil.STATUS_ZOMBIE, 20)
    assert is_alive(process)
    assert stop(process, 0.1) == 1
    assert not is_alive(process)


def test_waiting_ends_with_the_logs_tail_when_the_process_dies(processes: Processes) -> None:
    process = processes.start("broken", "print('one'); raise SystemExit('the reason')")
    with pytest.raises(Unavailable, match=r"(?s)broken ended while starting.*the reason"):
        wait_ready(process, lambda: False, 20)


def test_waiting_ends_at_its_time_limit(processes: Processes) -> None:
    process = processes.start("slow", FOREVER)
    with pytest.raises(Unavailable, match="not ready after 0.2 s"):
        wait_ready(process, lambda: False, 0.2)


def test_a_log_that_has_grown_too_long_is_the_generation_before_when_its_process_starts(tmp_path: Path) -> None:
    log = tmp_path / "one.log"
    command = Command("one", (sys.executable, "-c", "print('new')"), log, {})
    for before in ("oldest", "old"):
        log.write_text(before + "x" * LOG_BYTES, "utf-8")
        end_of(command, str(tmp_path))
    assert log.read_text("utf-8") == "new\n"
    assert (tmp_path / "one.log.1").read_text("utf-8").startswith("oldx")
    end_of(command, str(tmp_path))
    assert log.read_text("utf-8") == "new\nnew\n"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["one.log", "one.log.1"]


def test_a_process_of_ours_keeps_its_log_short_while_it_runs(tmp_path: Path) -> None:
    log = tmp_path / "worker-1.log"
    end_of(Command("worker-1", (sys.executable, "-c", TALKATIVE), log, {STACK_LOG: str(log)}), str(tmp_path))
    before, now = (tmp_path / "worker-1.log.1").read_text("utf-8"), log.read_text("utf-8")
    assert '"event": "ours"' in before
    assert before.endswith("y\n")
    assert '"event": "theirs"' in now
    assert now.endswith("beside\n")
    assert len(now) < LOG_BYTES / 10


def test_what_a_server_prints_beside_its_own_log_is_told_with_it_and_no_earlier_ones_words(tmp_path: Path) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("logged\n", "utf-8")
    for words in ("earlier", "no memory"):
        command = Command("kafka", (sys.executable, "-c", f"raise SystemExit({words!r})"), log, {}, writes_log=True)
        process = start(command, str(tmp_path))
        with pytest.raises(Unavailable) as caught:
            wait_ready(process, lambda: False, 20)
    assert str(caught.value) == (
        f"kafka ended while starting. The end of {log}:\nlogged\nThe end of {tmp_path / 'kafka.out'}:\nno memory"
    )
    assert (tmp_path / "kafka.out.1").read_text("utf-8") == "earlier\n"


def end_of(command: Command, owner: str) -> None:
    process = start(command, owner)
    assert wait_until(lambda: not is_alive(process), 30)


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_the_process_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from infra.processes import Command, start; import threading; "
        f"p = start(Command('child', (sys.executable, '-c', {FOREVER!r}), Path({str(tmp_path / 'log')!r}), {{}}), 'o', "
        "die_with_parent=True); print(p.pid, flush=True); threading.Event().wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    assert wait_until(lambda: has_ended(child), 10)


def test_a_failed_command_shows_its_traceback_or_its_last_lines() -> None:
    with pytest.raises(Stop, match=r"(?s)doing it failed \(exit code 1\):\nTraceback.*ValueError: why$"):
        run([sys.executable, "-c", "print('noise'); raise ValueError('why')"], {}, 20, "doing it")
    with pytest.raises(Stop, match=r"(?s)exit code 3.*last words"):
        run([sys.executable, "-c", "import sys; print('last words'); sys.exit(3)"], {}, 20, "doing it")


def test_a_command_that_takes_too_long_is_ended_and_named() -> None:
    with pytest.raises(Stop, match=r"waiting was not done after 0.2 s"):
        run([sys.executable, "-c", FOREVER], {}, 0.2, "waiting")


def test_the_tail_of_a_log_that_is_not_there(tmp_path: Path) -> None:
    assert tail(tmp_path / "none") == "(no log)"
