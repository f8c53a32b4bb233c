"""The home of a local stack: a folder with everything that lives, and the two files that remember it.

HOME/stack.json      ports, and under "settings" the endpoints in the form that ``pipeline.settings.load`` reads
HOME/run/NAME.json   one started process: id, start time, marker, log
HOME/kafka, redis, flink, logs
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.ports import LOOPBACK, free_port
from infra.processes import Started
from pipeline.errors import ConfigurationError
from pipeline.settings import StackSettings, current_home_file


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
        """Return stack.json, or nothing where this stack was never started."""
        path = self.folder / "stack.json"
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def update(self, **values: Any) -> None:
        """Replace some entries of stack.json."""
        _write_whole(self.folder / "stack.json", self.read() | values)

    def ports(self, wanted: StackSettings) -> Ports:
        """Return the ports: what the settings say, else what the first start took, else free ones; and keep them."""
        kept = self.read().get("ports", {})
        settled = {
            "kafka": wanted.kafka_port,
            "kafka_controller": wanted.kafka_controller_port,
            "redis": wanted.redis_port,
            "flink_rest": wanted.flink_rest_port,
            "flink_rpc": 0,
        }
        ports = Ports(**{name: port or kept.get(name) or free_port() for name, port in settled.items()})
        self.update(ports=asdict(ports))
        return ports

    def metrics_port(self, name: str) -> int:
        """Return the port on which a process of ours shows its metrics, the same after a restart."""
        kept: dict[str, int] = self.read().get("metrics", {})
        if name not in kept:
            self.update(metrics=kept | {name: free_port()})
        return int(self.read()["metrics"][name])

    def publish(self, ports: Ports) -> None:
        """Write the endpoints where ``settings.load`` finds them, and make this the account's current stack."""
        endpoints = {
            "kafka": {"bootstrap": f"{LOOPBACK}:{ports.kafka}"},
            "redis": {"url": f"redis://{LOOPBACK}:{ports.redis}/0"},
        }
        self.update(settings=endpoints, flink={"rest_url": f"http://{LOOPBACK}:{ports.flink_rest}"})
        pointer = current_home_file()
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(f"{self.folder}\n", "utf-8")

    def retire(self) -> None:
        """Remove the pointer to this stack, if it is the account's current one. The data stay."""
        pointer = current_home_file()
        if pointer.is_file() and pointer.read_text("utf-8").strip() == str(self.folder):
            pointer.unlink()

    def remember(self, process: Started) -> None:
        """Keep a started process."""
        _write_whole(self._run(process.name), process.as_dict())

    def forget(self, name: str) -> None:
        """Drop a process that was stopped."""
        self._run(name).unlink(missing_ok=True)

    def started(self) -> dict[str, Started]:
        """Return every process that was started and not yet stopped in order, whether or not it still lives."""
        files = sorted((self.folder / "run").glob("*.json"))
        return {path.stem: Started(**json.loads(path.read_text("utf-8"))) for path in files}

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Let one command at a time change this stack; raise ConfigurationError while another one does."""
        (self.folder / "run").mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "run" / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"another `groundswell up` or `down` works on {self.folder}; let it finish") from None
        else:
            yield
        finally:
            os.close(descriptor)

    def _run(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.json"


def _write_whole(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    scratch.replace(path)
