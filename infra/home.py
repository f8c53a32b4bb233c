"""The home of a local stack: a folder with everything that lives, and the two files that remember it.

HOME/stack.json      ports, what was stopped, and under "settings" the endpoints in the form that ``pipeline.settings.load`` reads
HOME/run/NAME.json   one started process: id, start time, marker, log
HOME/kafka, redis, flink, logs
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from infra.ports import LOOPBACK, free_port
from infra.processes import Started, is_alive
from pipeline.adapters.files import published_file
from pipeline.errors import ConfigurationError
from pipeline.settings import StackSettings, current_home_file, read_document

LISTENERS: Final = {
    "kafka": "kafka",
    "kafka_controller": "kafka",
    "redis": "redis",
    "flink_rest": "flink-jobmanager",
    "flink_rpc": "flink-jobmanager",
}  # which service listens on which port of ``Ports``; the setting of a port is STACK__NAME_PORT


SERVED_PATH: Final = re.compile(r"[A-Za-z0-9/._~@+-]+")


def refuse_unserved_path(folder: Path, setting: str) -> None:
    """Raise ConfigurationError where the servers would not find a folder of this name, or write beside it.

    Kafka reads its file as Latin-1 and parts folders at commas, Flink's runner of Python parts paths at blanks, and a number
    sign ends the home's name in the marker of its processes.
    """
    if not SERVED_PATH.fullmatch(str(folder)):
        odd = "".join(sorted({char for char in str(folder) if not SERVED_PATH.fullmatch(char)}))
        what = f"{setting} = {folder}: Kafka and Flink cannot work in a folder whose path has {odd!r}"
        raise ConfigurationError(what, "name one of plain letters, digits and / . _ ~ @ + - alone")


def metrics_setting(service: str) -> str:
    """Return the setting of the port on which a service shows its metrics."""
    if service.startswith("flink"):
        return "STACK__FLINK_METRICS_PORT"
    return "WORKER__METRICS_PORT" if service.startswith("worker") else "NOTIFY__METRICS_PORT"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the servers of a stack listen, all on the loopback interface."""

    kafka: int
    kafka_controller: int
    redis: int
    flink_rest: int
    flink_rpc: int


class Home:
    """One stack's folder. Files are replaced whole, so that a reader never sees half of one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.expanduser().resolve()

    @property
    def marker(self) -> str:
        """Return what all processes of this stack carry in their environment."""
        return str(self.folder)

    def read(self) -> dict[str, Any]:
        """Return stack.json, or nothing where this stack was never started. Raises ConfigurationError for a broken one."""
        return read_document(self.folder / "stack.json")

    def update(self, **values: Any) -> None:
        """Replace some entries of stack.json."""
        _write_whole(self.folder / "stack.json", self.read() | values)

    def ports(self, wanted: StackSettings) -> Ports:
        """Return the ports: what the settings say, else what the first start took, else free ones; and keep them.

        A service that runs keeps its ports, whatever the settings say by now.
        """
        ports: dict[str, int] = self.read().get("ports", {})
        for name, service in LISTENERS.items():
            runs = self._runs(service)
            if runs and name not in ports:
                what = f"{service} runs, and {self.folder}/stack.json does not say on which port"
                raise ConfigurationError(what, "groundswell down && groundswell up")
            asked = 0 if runs else getattr(wanted, f"{name}_port")
            ports[name] = asked or ports.get(name) or free_port(self._promised(ports))
        taken = {name: ports[name] for name in LISTENERS}  # another release may have kept others
        _refuse_one_port_for_two(taken)
        self.update(ports=taken)
        return Ports(**taken)

    def metrics_port(self, name: str, wanted: int = 0) -> int:
        """Return the port on which a process shows its metrics: ``wanted``, else the same as before, else a free one."""
        kept: dict[str, int] = self.read().get("metrics", {})
        asked = 0 if self._runs(name) else wanted
        port = asked or kept.get(name) or free_port(self._promised({}))
        self.update(metrics=kept | {name: port})
        return port

    def publish(self, ports: Ports) -> None:
        """Write the endpoints where ``settings.load`` finds them, and make this the account's current stack."""
        endpoints = {
            "kafka": {"bootstrap": f"{LOOPBACK}:{ports.kafka}"},
            "redis": {"url": f"redis://{LOOPBACK}:{ports.redis}/0"},
        }
        self.update(settings=endpoints, flink={"rest_url": f"http://{LOOPBACK}:{ports.flink_rest}"})
        _point_at(self.folder)

    def retire(self) -> None:
        """Remove the pointer to this stack, if it is the account's current one. The data stay."""
        with suppress(FileNotFoundError, NotADirectoryError):  # another `down` may have been faster
            if current_home_file().read_bytes().strip() == bytes(self.folder):
                current_home_file().unlink()

    def remember(self, process: Started) -> None:
        """Keep a started process."""
        self.update(stopped=[name for name in self.stopped() if name != process.name])
        _write_whole(self._run(process.name), process.as_dict())

    def forget(self, name: str) -> None:
        """Drop a process that was stopped, but for its name."""
        self._run(name).unlink(missing_ok=True)  # first: on a full disk the other fails
        self.update(stopped=sorted({*self.stopped(), name}))

    def started(self) -> dict[str, Started]:
        """Return every process that was started and not yet stopped in order, whether or not it still lives."""
        files = sorted((self.folder / "run").glob("*.json"))
        found = {path.stem: read_document(path) for path in files}  # nothing where one was forgotten meanwhile
        return {path.stem: _started(path, found[path.stem]) for path in files if found[path.stem]}

    def stopped(self) -> list[str]:
        """Return the names of the processes that ran here and were stopped."""
        names: list[str] = self.read().get("stopped", [])
        return names

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let one command at a time change this stack; raise ConfigurationError while another one does, or where nobody can."""
        try:
            (self.folder / "run").mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "run" / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            what = f"{self.folder}: nothing can be written there ({error.strerror})"
            raise ConfigurationError(f"{what}; name another folder with --home") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"another `groundswell up` or `down` works on {self.folder}; let it finish") from None
        else:
            yield
        finally:
            os.close(descriptor)

    def _runs(self, name: str) -> bool:
        started = self.started().get(name)
        return started is not None and is_alive(started)

    def _promised(self, ports: Mapping[str, int]) -> set[int]:
        """Return the ports that are taken as soon as the stack runs."""
        return {*ports.values(), *self.read().get("metrics", {}).values(), *self.read().get("ports", {}).values()}

    def _run(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.json"


def _refuse_one_port_for_two(ports: Mapping[str, int]) -> None:
    owners = {port: name for name, port in ports.items()}
    for name, port in ports.items():
        if owners[port] != name:
            what = f"port {port} is both {name}'s and {owners[port]}'s"
            raise ConfigurationError(what, f"give one another: GROUNDSWELL_STACK__{name.upper()}_PORT=PORT groundswell up")


def _point_at(folder: Path) -> None:
    try:
        with published_file(current_home_file()) as scratch:  # half a name would lead to another folder
            scratch.write_text(f"{folder}\n", "utf-8")
    except ConfigurationError as problem:
        raise ConfigurationError(str(problem), "another place: export XDG_STATE_HOME=FOLDER") from problem


def _started(path: Path, document: dict[str, Any]) -> Started:
    try:
        return Started(**document)
    except TypeError as error:
        raise ConfigurationError(f"{path} names no process ({error})", "remove it, then: groundswell up") from error


def _write_whole(path: Path, document: dict[str, Any]) -> None:
    with published_file(path, synced=True) as scratch:  # else the name may survive a power cut without what it names
        scratch.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
