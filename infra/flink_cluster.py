"""One Flink session cluster on the loopback interface: a job manager and a task manager, and how jobs are handed over.

The environment is Flink's own (``infra.runtime.flink_python``); of this project it sees only what ``ship`` packs.
"""

import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

import pipeline
from infra.ports import LOOPBACK
from infra.processes import Command, run
from infra.runtime import flink_home
from pipeline.adapters.flink_rest import FlinkRest
from pipeline.errors import Stop, Unavailable

SHIPPED: Final = ("__init__.py", "errors.py", "events.py", "topics.py", "core", "jobs")  # stdlib, numpy and pydantic only
SUBMIT_TIMEOUT_S: Final = 180.0
REPRODUCIBLE: Final = (1980, 1, 1, 0, 0, 0)

CONFIG: Final[dict[str, Any]] = {
    "jobmanager.rpc.address": LOOPBACK,
    "jobmanager.bind-host": LOOPBACK,
    "jobmanager.memory.process.size": "1024m",
    "taskmanager.host": LOOPBACK,
    "taskmanager.bind-host": LOOPBACK,
    "taskmanager.numberOfTaskSlots": 2,
    "parallelism.default": 1,
    "rest.address": LOOPBACK,
    "rest.bind-address": LOOPBACK,
    # the default of 50 s makes the loss of a task manager cost a minute
    "heartbeat.interval": 3000,
    "heartbeat.timeout": 15000,
    "execution.checkpointing.num-retained": 3,
    "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
    "restart-strategy.type": "exponential-delay",
    "restart-strategy.exponential-delay.initial-backoff": "1 s",
    "restart-strategy.exponential-delay.max-backoff": "30 s",
    "pekko.ask.timeout": "30 s",
}
LOGGING: Final = """\
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.type = CONSOLE
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n%throwable
"""


@dataclass(frozen=True, slots=True)
class FlinkPart:
    """A process of the cluster, with the question that tells whether it does its work."""

    start: Command
    is_ready: Callable[[], bool]

    def command(self) -> Command:
        """Return how to start it."""
        return self.start

    def ready(self) -> bool:
        """Tell whether it does its work."""
        return self.is_ready()


@dataclass(frozen=True, slots=True)
class FlinkCluster:
    """Where a cluster keeps its files, which programs it runs, and where it listens."""

    folder: Path
    python: Path
    java: Path
    connector: Path
    rest_port: int
    rpc_port: int
    task_manager_memory: str = "1600m"

    @property
    def rest_url(self) -> str:
        """Return the address of the REST interface and the web page."""
        return f"http://{LOOPBACK}:{self.rest_port}"

    @property
    def savepoints(self) -> Path:
        """Return the folder that ``down`` writes savepoints to."""
        return self.folder / "savepoints"

    @property
    def config(self) -> dict[str, Any]:
        """Return the whole configuration.

        ``env.java.opts.all`` repeats the packaged value: the configuration folder replaces the packaged one wholly, and
        without these module openings the first job dies with InaccessibleObjectException.
        """
        packaged = yaml.safe_load((flink_home(self.python) / "conf" / "config.yaml").read_text("utf-8"))
        return CONFIG | {
            "env.java.home": str(self.java.parent.parent),
            "env.java.opts.all": packaged["env"]["java"]["opts"]["all"],
            "jobmanager.rpc.port": self.rpc_port,
            "taskmanager.memory.process.size": self.task_manager_memory,
            "rest.port": self.rest_port,
            "rest.bind-port": str(self.rest_port),
            "python.executable": str(self.python),
            "python.client.executable": str(self.python),
            "execution.checkpointing.dir": (self.folder / "checkpoints").as_uri(),
            "execution.checkpointing.savepoint-dir": self.savepoints.as_uri(),
            "io.tmp.dirs": str(self.folder / "tmp"),
            "web.tmpdir": str(self.folder / "tmp"),
            "blob.storage.directory": str(self.folder / "tmp"),
        }

    def prepare(self) -> None:
        """Write the configuration and pack what the jobs need of this project."""
        for name in ("conf", "checkpoints", "savepoints", "tmp", "pid", "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "conf" / "config.yaml").write_text(yaml.safe_dump(self.config, width=10_000), "utf-8")
        for name in ("log4j.properties", "log4j-console.properties", "log4j-cli.properties"):
            (self.folder / "conf" / name).write_text(LOGGING, "utf-8")
        ship(self.shipped)

    @property
    def shipped(self) -> Path:
        """Return the archive of this project's code that goes to the cluster with each job."""
        return self.folder / "pipeline.zip"

    def job_manager(self) -> FlinkPart:
        """Return the process that takes jobs and looks after them; it answers on ``rest_url``."""
        return FlinkPart(self._start("flink-jobmanager", "jobmanager.sh"), lambda: self._task_managers() is not None)

    def task_manager(self) -> FlinkPart:
        """Return the process that runs the jobs' operators; ready when the job manager knows it."""
        return FlinkPart(self._start("flink-taskmanager", "taskmanager.sh"), lambda: bool(self._task_managers()))

    def submit(self, script: Path, arguments: Sequence[str] = (), savepoint: str | None = None) -> str:
        """Hand a PyFlink script to the cluster and return the job's id; raise Stop with the client's output if it refuses.

        The Kafka connector and this project's code go with it. The connector is given with ``-j``: set as
        ``pipeline.jars`` it would push out flink-python's own jar. ``savepoint``: go on from there.
        """
        resume = () if savepoint is None else ("-s", savepoint)
        client = str(flink_home(self.python) / "bin" / "flink")
        argv = (client, "run", "--detached", *resume, "-j", str(self.connector), "-pyfs", str(self.shipped))
        output = run((*argv, "-py", str(script), *arguments), self.env, SUBMIT_TIMEOUT_S, f"submitting {script.name} to Flink")
        submitted = re.search(r"submitted with JobID ([0-9a-f]{32})", output)
        if submitted is None:
            raise Stop(f"Flink's client started no job from {script.name}:\n{output[-2000:]}")
        return submitted[1]

    def rest(self) -> FlinkRest:
        """Return a client of the cluster's REST interface."""
        return FlinkRest(self.rest_url)

    @property
    def env(self) -> Mapping[str, str]:
        """Return the environment that Flink's scripts need; ``python`` on the PATH must be Flink's own, everywhere."""
        return {
            "FLINK_HOME": str(flink_home(self.python)),
            "FLINK_CONF_DIR": str(self.folder / "conf"),
            "FLINK_LOG_DIR": str(self.folder / "log"),
            "FLINK_PID_DIR": str(self.folder / "pid"),
            "JAVA_HOME": str(self.java.parent.parent),
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    def _start(self, name: str, script: str) -> Command:
        argv = (str(flink_home(self.python) / "bin" / script), "start-foreground")
        return Command(name, argv, self.folder / f"{name}.log", env=self.env, cwd=self.folder)

    def _task_managers(self) -> int | None:
        """Return how many task managers are registered, or None while the job manager does not answer."""
        rest = self.rest()
        try:
            return rest.overview().task_managers
        except Unavailable:
            return None
        finally:
            rest.close()


def ship(target: Path) -> None:
    """Pack the part of this project that jobs may import; equal sources give equal bytes."""
    package = Path(pipeline.__file__).parent
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in SHIPPED:
            path = package / name
            for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                entry = zipfile.ZipInfo(str(source.relative_to(package.parent)), REPRODUCIBLE)
                archive.writestr(entry, source.read_bytes())
