"""One Apache Kafka broker in KRaft mode (broker and controller in one process) on the loopback interface."""

import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra import log4j
from infra.ports import LOOPBACK, is_listening
from infra.processes import Command, run

MAX_RECORD_BYTES: Final = 2 * 2**20  # a post of 1 MB, and the dead letter that carries it in base64
FORMAT_TIMEOUT_S: Final = 120

PROPERTIES: Final[dict[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # a topic exists because `groundswell provision` made it, never because of a misspelt name
    "auto.create.topics.enable": "false",
    # one broker: the internal topics cannot have more than one copy
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "offsets.topic.num.partitions": "4",  # the default of 50 costs a small machine start-up time and file handles
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    "offsets.retention.minutes": str(366 * 24 * 60),  # a replay may pause for weeks without losing its place
    "group.initial.rebalance.delay.ms": "0",
    "message.max.bytes": str(MAX_RECORD_BYTES),
    "replica.fetch.max.bytes": str(MAX_RECORD_BYTES),
    "log.retention.ms": "-1",  # retention is the topic table's, by record timestamp: a replay of 2014 must not expire
}
TOOL_LOGGING: Final = "log4j2-tool.properties"
SERVER_LOGGING: Final = "log4j2.properties"


@dataclass(frozen=True, slots=True)
class KafkaServer:
    """Where a broker keeps its data, which jars it runs, and where it listens."""

    folder: Path
    java: Path
    jars: tuple[Path, ...]
    port: int
    controller_port: int
    jvm_options: tuple[str, ...] = ("-Xmx1g",)

    @property
    def bootstrap(self) -> str:
        """Return the address for clients."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def properties(self) -> dict[str, str]:
        """Return the whole content of server.properties."""
        return PROPERTIES | {
            "listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap},CONTROLLER://{LOOPBACK}:{self.controller_port}",
            "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{self.controller_port}",
            "log.dirs": str(self.folder / "data"),
        }

    def prepare(self) -> None:
        """Write the configuration, and format the storage where that has not been done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(f"{key}={value}\n" for key, value in self.properties.items())
        self._config.write_text(lines, "utf-8")
        log4j.write_console(self.folder / TOOL_LOGGING, "info")
        log4j.write_rolling(self.folder / SERVER_LOGGING, "info")
        if (self.folder / "data" / "meta.properties").is_file():
            return
        # the leading letter: the storage tool takes an id that begins with a minus for an option
        cluster = "G" + urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
        tool = "kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", str(self._config)
        quick = "-Xmx256m", "-XX:TieredStopAtLevel=1", *log4j.options(self.folder / TOOL_LOGGING)
        run([*self._java(*quick), *tool], {}, FORMAT_TIMEOUT_S, "formatting Kafka's storage")

    def command(self) -> Command:
        """Return how to start it."""
        log = self.folder / "kafka.log"
        options = *self.jvm_options, *log4j.options(self.folder / SERVER_LOGGING, log)
        argv = (*self._java(*options), "kafka.Kafka", str(self._config))
        return Command("kafka", argv, log, env={}, cwd=self.folder, writes_log=True)

    def ready(self) -> bool:
        """Tell whether the broker has registered and is out of recovery: only then does it open its client port."""
        return is_listening(self.port)

    @property
    def _config(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, *options: str) -> tuple[str, ...]:
        return str(self.java), *options, "-cp", ":".join(map(str, self.jars))
