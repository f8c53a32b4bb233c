"""The doctor's look at this machine: software, ports, disk, memory, the stack's own files."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psutil

from infra.findings import Finding, error, warning
from infra.home import LISTENERS, Home, metrics_setting, refuse_unserved_path
from infra.ports import is_listening
from infra.processes import is_alive
from infra.runtime import (
    JARS_LOCK,
    flink_environment,
    jar_file,
    java_version,
    locked_jars,
    python_for_flink,
    redis_binary,
    uv_binary,
)
from infra.versions import OLDEST_JAVA
from pipeline.adapters.files import sha256_of
from pipeline.environment import unknown_variables
from pipeline.errors import ConfigurationError
from pipeline.settings import ENV_PREFIX, StackSettings

GIB: Final = 2**30
NEEDED_DISK: Final = 4 * GIB  # software, model and room for logs
NEEDED_MEMORY: Final = 4 * GIB  # broker, Redis, Flink and one worker on a CPU
INSTALL_JAVA: Final = "pip install 'groundswell[stack]'"


def check_java(candidates: Sequence[Path]) -> Iterator[Finding]:
    """Look for a Java that can run Kafka and Flink."""
    versions = {path: java_version(path) for path in candidates}
    if any(version is not None and version >= OLDEST_JAVA for version in versions.values()):
        return
    found = "; ".join(f"{path} is {'not runnable' if v is None else f'version {v}'}" for path, v in versions.items())
    yield error("java", f"no Java {OLDEST_JAVA} or later ({found or 'none found'})", INSTALL_JAVA)


def check_packages(names: Mapping[str, str], finder: Callable[[str], object] = find_spec) -> Iterator[Finding]:
    """Look for Python packages; ``names`` maps each to what happens without it."""
    for name, consequence in names.items():
        if finder(name) is None:
            yield error("packages", f"package {name} is missing: {consequence}", f"pip install {name}")


def check_ports(home: Home, stack: StackSettings) -> Iterator[Finding]:
    """Look whether a port that the stack will take is taken by somebody else."""
    started = home.started()
    for name, service, port, setting in _ports(home, stack):
        ours = service in started and is_alive(started[service])
        if port and not ours and is_listening(port):
            what = f"port {port} of {name} is taken by {_listener(port)}"
            yield error("ports", what, f"end it, or: export {ENV_PREFIX}{setting}=PORT")


def _ports(home: Home, stack: StackSettings) -> Iterator[tuple[str, str, int, str]]:
    """Yield what each port is for, the service that takes it, the port, 0 where it is free to choose, and its setting."""
    kept, metrics = home.read().get("ports", {}), home.read().get("metrics", {})
    for name, service in LISTENERS.items():
        yield name, service, getattr(stack, f"{name}_port") or kept.get(name, 0), f"STACK__{name.upper()}_PORT"
    for service, port in metrics.items():
        yield f"{service}'s metrics", service, port, metrics_setting(service)


def check_disk(folder: Path, needed: int = NEEDED_DISK) -> Iterator[Finding]:
    """Look for room where data and software go."""
    existing = next(each for each in (folder, *folder.parents) if each.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        what = f"{existing} has {free / GIB:.1f} GiB free, {needed / GIB:.1f} GiB are needed"
        yield error("disk", what, "free some, or: groundswell up --home FOLDER_ON_ANOTHER_DISK")


def check_memory(needed: int = NEEDED_MEMORY) -> Iterator[Finding]:
    """Look for memory for the whole stack."""
    free = psutil.virtual_memory().available
    if free < needed:
        what = f"{free / GIB:.1f} GiB of memory are free, the whole stack takes {needed / GIB:.1f} GiB"
        yield warning("memory", what, "groundswell up --no-flink --workers 1")


def needs(home: Home) -> tuple[int, int]:
    """Return the bytes of disk and of memory that must be free: a stack that runs has what it takes, but for its logs."""
    runs = any(map(is_alive, home.started().values()))
    return (GIB, 0) if runs else (NEEDED_DISK, NEEDED_MEMORY)


def check_redis_server() -> Iterator[Finding]:
    """Look for a Redis that can be started here."""
    redis_binary()
    yield from ()


def check_home(home: Home) -> Iterator[Finding]:
    """Look whether files can be made in the home, and the servers can work in it."""
    try:
        refuse_unserved_path(home.folder, "--home")
    except ConfigurationError as problem:
        yield error("home", problem.message, f"export {ENV_PREFIX}HOME=ANOTHER_FOLDER: {problem.fix}")
    try:
        home.folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=home.folder).close()
    except OSError as problem:
        what = f"{home.folder} cannot be written: {problem.strerror}"
        yield error("home", what, f"chmod u+rwx {home.folder}, or: export {ENV_PREFIX}HOME=ANOTHER_FOLDER")


def check_processes(home: Home) -> Iterator[Finding]:
    """Look for services that were started and died."""
    for name, process in home.started().items():
        if not is_alive(process):
            what = f"{name} (process {process.pid}) died; its log is {process.log}"
            yield error("processes", what, "groundswell up")


def check_jars(cache: Path) -> Iterator[Finding]:
    """Look whether a fetched jar was altered; a missing one is fetched when it is needed."""
    for table in ("kafka", "flink-connector"):
        for coordinates, sha256 in locked_jars(table).items():
            path = jar_file(coordinates, sha256, cache)
            if path.is_file() and sha256_of(path) != sha256:
                yield error("jars", f"{path} is not what {JARS_LOCK.name} locks", f"rm {path} && groundswell up")


def check_flink_python(cache: Path) -> Iterator[Finding]:
    """Look for a Python that Flink's packages support, where its environment still has to be built."""
    if not flink_environment(cache).exists():
        python_for_flink(str(uv_binary()))
    yield from ()


def check_environment(environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Look for variables that look like settings and are none: a misspelt one is ignored silently."""
    for name in unknown_variables(environ):
        yield warning("environment", f"{name} is no setting and has no effect", f"unset {name}")


def _listener(port: int) -> str:
    """Name the process that listens on the port, as far as this account may know."""
    try:
        found = {each.pid for each in psutil.net_connections("tcp") if each.laddr and each.laddr.port == port and each.pid}
        return ", ".join(f"process {pid} ({psutil.Process(pid).name()})" for pid in sorted(found)) or "another process"
    except psutil.Error:
        return "another process"
