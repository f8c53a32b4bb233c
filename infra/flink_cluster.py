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
from infra import log4j
from infra.ports import LOOPBACK
from infra.processes import Command, run
from infra.runtime import flink_home
from pipeline.adapters.flink_rest import FlinkRest
from pipeline.errors import Stop, Unavailable

# What needs the standard library, numpy and pydantic only; infra/flink.Dockerfile copies the same.
SHIPPED: Final = ("__init__.py", "errors.py", "times.py", "contract.py", "events.py", "topics.py", "core", "jobs")
TEMPORARY: Final = "tmp"
SLOTS: Final = 2
SUBMIT_TIMEOUT_S: Final = 300.0
ANSWER_TIMEOUT_S: Final = 30.0  # as long as Flink's own parts wait for each other (pekko.ask.timeout)
REPRODUCIBLE: Final = (1980, 1, 1, 0, 0, 0)
UNHEARD: Final = "Failed to start Python process"  # what the client says of a script that ended before it looked

JOB_MANAGER_MEMORY: Final = {
    "jobmanager.memory.heap.size": "448m",
    "jobmanager.memory.off-heap.size": "128m",
    "jobmanager.memory.jvm-metaspace.size": "256m",
    "jobmanager.memory.jvm-overhead.min": "192m",
    "jobmanager.memory.jvm-overhead.max": "192m",
}
# All parts are given, because Flink's scripts would start two more Java machines only to work them out. Managed memory
# goes to the Python workers.
TASK_MANAGER_MEMORY: Final = {
    "taskmanager.cpu.cores": 2.0,
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.task.heap.size": "384m",
    "taskmanager.memory.framework.off-heap.size": "128m",
    "taskmanager.memory.task.off-heap.size": "0m",
    "taskmanager.memory.network.min": "96m",
    "taskmanager.memory.network.max": "96m",
    "taskmanager.memory.managed.size": "384m",
    "taskmanager.memory.jvm-metaspace.size": "512m",  # each job handed over leaves some 40 MB of classes behind
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
}
IGNORE_UNKNOWN: Final = "-XX:+IgnoreUnrecognizedVMOptions"
QUICK_START: Final = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # for machines that coordinate and compute nothing
JOB_MANAGER_JVM: Final = (*QUICK_START, "-Xmx448m", "-XX:MaxMetaspaceSize=256m")
TASK_MANAGER_JVM: Final = ("-XX:+UseG1GC", "-Xmx512m", "-XX:MaxDirectMemorySize=224m", "-XX:MaxMetaspaceSize=512m")
CLIENT_JVM: Final = (*QUICK_START, "-Xmx256m")
CONFIG: Final[dict[str, Any]] = (
    JOB_MANAGER_MEMORY
    | TASK_MANAGER_MEMORY
    | {
        "jobmanager.rpc.address": LOOPBACK,
        "jobmanager.bind-host": LOOPBACK,
        "taskmanager.host": LOOPBACK,
        "taskmanager.bind-host": LOOPBACK,
        "taskmanager.numberOfTaskSlots": SLOTS,
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
        "metrics.reporters": "prometheus",
        "metrics.reporter.prometheus.factory.class": "org.apache.flink.metrics.prometheus.PrometheusReporterFactory",
    }
)
JOB_MANAGER: Final = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
TASK_MANAGER: Final = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
CLIENT: Final = "org.apache.flink.client.cli.CliFrontend"
CLIENT_LOGGING: Final = "log4j-cli.properties"
SERVER_LOGGING: Final = "log4j.properties"


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
    """Where a cluster keeps its files, which programs it runs, and where it listens.

    ``metrics_ports``: where job manager and task manager answer /metrics (Prometheus text); 0 takes any free one.
    """

    folder: Path
    python: Path
    java: Path
    connector: Path
    rest_port: int
    rpc_port: int
    metrics_ports: tuple[int, int] = (0, 0)

    @property
    def rest_url(self) -> str:
        """Return the address of the REST interface and the web page."""
        return f"http://{LOOPBACK}:{self.rest_port}"

    @property
    def savepoints(self) -> Path:
        """Return the folder that ``down`` writes savepoints to."""
        return self.folder / "savepoints"

    @property
    def temporary(self) -> Path:
        """Return the folder of what nobody needs once the cluster is down."""
        return self.folder / TEMPORARY

    @property
    def config(self) -> dict[str, Any]:
        """Return the whole configuration.

        ``env.java.opts.all`` repeats the packaged value: the configuration folder replaces the packaged one wholly, and
        without these module openings the first job dies with InaccessibleObjectException.
        """
        return CONFIG | {
            "env.java.home": str(self.java.parent.parent),
            "env.java.opts.all": " ".join(self._openings),
            "jobmanager.rpc.port": self.rpc_port,
            "rest.port": self.rest_port,
            "rest.bind-port": str(self.rest_port),
            "python.executable": str(self.python),
            "python.client.executable": str(self.python),
            "execution.checkpointing.dir": address(self.folder / "checkpoints"),
            "execution.checkpointing.savepoint-dir": address(self.savepoints),
            "io.tmp.dirs": str(self.temporary),
            "web.tmpdir": str(self.temporary),
            "blob.storage.directory": str(self.temporary),
        }

    def prepare(self) -> None:
        """Write the configuration and pack what the jobs need of this project."""
        for name in ("conf", "checkpoints", "savepoints", TEMPORARY, "log"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self._conf("config.yaml").write_text(yaml.safe_dump(self.config, width=10_000), "utf-8")
        log4j.write_console(self._conf(CLIENT_LOGGING), "warn")
        log4j.write_rolling(self._conf(SERVER_LOGGING), "info")
        ship(self.shipped)

    @property
    def shipped(self) -> Path:
        """Return the archive of this project's code that goes to the cluster with each job."""
        return self.folder / "pipeline.zip"

    def job_manager(self) -> FlinkPart:
        """Return the process that takes jobs and looks after them; it answers on ``rest_url``."""
        command = self._start("flink-jobmanager", JOB_MANAGER_JVM, JOB_MANAGER, self.metrics_ports[0])
        return FlinkPart(command, lambda: self._task_managers() is not None)

    def task_manager(self) -> FlinkPart:
        """Return the process that runs the jobs' operators; ready when the job manager knows it."""
        command = self._start("flink-taskmanager", TASK_MANAGER_JVM, TASK_MANAGER, self.metrics_ports[1])
        return FlinkPart(command, lambda: bool(self._task_managers()))

    def submit(self, script: Path, arguments: Sequence[str] = (), savepoint: str | None = None) -> str:
        """Hand a PyFlink script to the cluster and return the job's id; raise Stop with the client's output if it refuses.

        The Kafka connector and this project's code go with it. The connector is given with ``-j``: set as
        ``pipeline.jars`` it would push out flink-python's own jar. ``savepoint``: go on from there.
        """
        resume = () if savepoint is None else ("-s", savepoint)
        leftovers = f"-Djava.io.tmpdir={self.temporary}"  # the client leaves a folder for each job it hands over
        client = self._java((*CLIENT_JVM, leftovers, *log4j.options(self._conf(CLIENT_LOGGING))), CLIENT)
        argv = (*client, "run", "--detached", *resume, "-j", str(self.connector), "-pyfs", str(self.shipped))
        output = self._submitted((*argv, "-py", str(script), *arguments), script)
        submitted = re.search(r"submitted with JobID ([0-9a-f]{32})", output)
        if submitted is None:
            raise Stop(f"Flink's client started no job from {script.name}:\n{output[-2000:]}")
        return submitted[1]

    def rest(self) -> FlinkRest:
        """Return a client of the cluster's REST interface, as patient as the cluster is with itself: who starts and stops a job
        on a busy machine must not give up before it does.
        """
        return FlinkRest(self.rest_url, ANSWER_TIMEOUT_S)

    @property
    def env(self) -> Mapping[str, str]:
        """Return the environment that Flink's scripts need; ``python`` on the PATH must be Flink's own, everywhere."""
        home = flink_home(self.python)
        return {
            "FLINK_HOME": str(home),
            "FLINK_CONF_DIR": str(self.folder / "conf"),
            "FLINK_LIB_DIR": str(home / "lib"),
            "FLINK_OPT_DIR": str(home / "opt"),
            "FLINK_PLUGINS_DIR": str(home / "plugins"),
            "FLINK_LOG_DIR": str(self.folder / "log"),
            "JAVA_HOME": str(self.java.parent.parent),
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        }

    def _submitted(self, argv: Sequence[str], script: Path) -> str:
        """Run Flink's client; tell a script that died within milliseconds, whose words the client loses, by its name."""
        try:
            return run(argv, self.env, SUBMIT_TIMEOUT_S, f"submitting {script.name} to Flink")
        except Stop as problem:
            if UNHEARD not in str(problem):
                raise
            alone = f"PYTHONPATH={self.shipped} {self.python} {script}"
            raise Stop(f"{script.name} ended before Flink's client could hear why; it says why alone: {alone}") from problem

    @property
    def _openings(self) -> tuple[str, ...]:
        """Return the packaged list of Java module openings."""
        packaged = yaml.safe_load((flink_home(self.python) / "conf" / "config.yaml").read_text("utf-8"))
        return tuple(packaged["env"]["java"]["opts"]["all"].split())

    def _start(self, name: str, jvm: Sequence[str], main_class: str, metrics_port: int) -> Command:
        log = self.folder / f"{name}.log"
        java = self._java((*jvm, *log4j.options(self._conf(SERVER_LOGGING), log)), main_class)
        metrics = f"-Dmetrics.reporter.prometheus.port={metrics_port}"
        argv = (*java, "--configDir", str(self.folder / "conf"), metrics)
        return Command(name, argv, log, env=self.env, cwd=self.folder, writes_log=True)

    def _conf(self, name: str) -> Path:
        return self.folder / "conf" / name

    def _java(self, jvm: Sequence[str], main_class: str) -> tuple[str, ...]:
        jars = sorted(map(str, (flink_home(self.python) / "lib").glob("*.jar")))
        return str(self.java), *jvm, *self._openings, IGNORE_UNKNOWN, "-cp", ":".join(jars), main_class

    def _task_managers(self) -> int | None:
        """Return how many task managers are registered, or None while the job manager does not answer."""
        rest = FlinkRest(self.rest_url)
        try:
            return rest.overview().task_managers
        except Unavailable:
            return None
        finally:
            rest.close()


def address(path: Path) -> str:
    """Return a path as Flink takes it: it reads no escapes (``%40``), which ``Path.as_uri`` writes."""
    return f"file://{path}"


def ship(target: Path) -> None:
    """Pack the part of this project that jobs may import; equal sources give equal bytes."""
    package = Path(pipeline.__file__).parent
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in SHIPPED:
            path = package / name
            for source in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
                entry = zipfile.ZipInfo(str(source.relative_to(package.parent)), REPRODUCIBLE)
                archive.writestr(entry, source.read_bytes())
