"""One Redis 8 on the loopback interface: append-only file, and no eviction, because profiles are data and not a cache."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.ports import LOOPBACK
from infra.processes import Command

PROPERTIES: Final[dict[str, str]] = {
    "bind": LOOPBACK,
    "protected-mode": "yes",
    "daemonize": "no",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "save": '""',  # the append-only file is the one form of persistence
    "databases": "1",
    "set-proc-title": "no",  # the title would overwrite the environment, and with it the marker of infra.processes
}


@dataclass(frozen=True, slots=True)
class RedisServer:
    """Where a Redis keeps its data, which program it runs, and where it listens."""

    folder: Path
    binary: Path
    port: int

    @property
    def url(self) -> str:
        """Return the address for clients."""
        return f"redis://{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration. The folder, as Redis keeps its data where it is started, is the working directory."""
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{key} {value}\n" for key, value in PROPERTIES.items())
        self._config.write_text(f"{lines}port {self.port}\n", "utf-8")

    def command(self) -> Command:
        """Return how to start it."""
        argv = (str(self.binary), str(self._config))
        # an odd locale variable of the account must not keep the server from starting
        env = {"LC_ALL": "C"} if "LC_ALL" in os.environ else {}
        return Command("redis", argv, self.folder / "redis.log", env=env, cwd=self.folder / "data")

    def ready(self) -> bool:
        """Tell whether it answers PING with PONG: while it loads the append-only file it does not."""
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    @property
    def _config(self) -> Path:
        return self.folder / "redis.conf"
