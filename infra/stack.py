"""The local stack without Docker: which processes it has, and how they come up and go down together."""

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.flink_cluster import SLOTS, TEMPORARY, FlinkCluster
from infra.flink_job import RunningCluster
from infra.home import Home, Ports, metrics_setting
from infra.kafka_server import KafkaServer
from infra.ports import LOOPBACK, is_listening
from infra.processes import Command, Startable, Started, is_alive, owned, start, stop, wait_ready
from infra.redis_server import RedisServer
from infra.runtime import flink_connector_jar, flink_python, java_binary, kafka_jars, redis_binary
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.environment import STACK_LOG
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.settings import ENV_PREFIX, KafkaSettings, Settings

Tell = Callable[[str], None]
STOP_ORDER: Final = ("notifier", "worker", "flink-taskmanager", "flink-jobmanager", "kafka", "redis")
FLINK_FOLDER: Final = "flink"
STOP_TIMEOUT_S: Final = 30.0
LAST_PORT: Final = 65_535


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the stack: how it starts, when it is ready, its ports with their settings, and how people reach it."""

    name: str
    server: Startable
    prepare: Callable[[], None]
    ports: Mapping[int, str]
    address: str


@dataclass(frozen=True, slots=True)
class GroupMember:
    """A process of this project that reads Kafka: it is ready once the group has as many members as were started."""

    name: str
    arguments: tuple[str, ...]
    home: Home
    kafka: KafkaSettings
    group: str
    of: int = 1

    def command(self) -> Command:
        """Return how to start it. It shows its metrics and its health on a port of its own."""
        argv = (sys.executable, "-m", "pipeline.cli", *self.arguments, "--home", str(self.home.folder))
        log = self.home.folder / "logs" / f"{self.name}.log"
        port = {f"{ENV_PREFIX}{metrics_setting(self.name)}": str(self.home.metrics_port(self.name))}
        return Command(self.name, argv, log, {"PYTHONUNBUFFERED": "1", STACK_LOG: str(log)} | port)

    def ready(self) -> bool:
        """Tell whether the group has all its members; a broker that does not answer for a moment is no reason to give up."""
        try:
            with KafkaAdmin(self.kafka) as admin:
                return admin.members(self.group) >= self.of
        except Unavailable:
            return False


def kafka_and_redis(home: Home, settings: Settings, ports: Ports) -> list[Service]:
    """Return the broker and the store; fetches their software where it is missing."""
    heap = f"-Xmx{settings.stack.kafka_heap}"
    jars = kafka_jars(settings.cache)
    kafka = KafkaServer(home.folder / "kafka", java_binary(), jars, ports.kafka, ports.kafka_controller, (heap,))
    redis = RedisServer(home.folder / "redis", redis_binary(), ports.redis)
    listeners = {ports.kafka: "STACK__KAFKA_PORT", ports.kafka_controller: "STACK__KAFKA_CONTROLLER_PORT"}
    return [
        Service("kafka", kafka, kafka.prepare, listeners, kafka.bootstrap),
        Service("redis", redis, redis.prepare, {ports.redis: "STACK__REDIS_PORT"}, redis.url),
    ]


def flink_cluster(home: Home, settings: Settings, ports: Ports) -> FlinkCluster:
    """Return the Flink cluster; builds its environment where it is missing. Raises ConfigurationError for too many tasks."""
    if settings.trends.parallelism > SLOTS:
        what = f"{ENV_PREFIX}TRENDS__PARALLELISM = {settings.trends.parallelism}: this stack's Flink has {SLOTS} task slots"
        raise ConfigurationError(what, f"set it to {SLOTS} at most; the job would wait for more and never run")
    python, connector = flink_python(settings.cache), flink_connector_jar(settings.cache)
    wanted = settings.stack.flink_metrics_port
    metrics = home.metrics_port("flink-jobmanager", wanted), home.metrics_port("flink-taskmanager", _following(wanted, 1))
    return FlinkCluster(home.folder / FLINK_FOLDER, python, java_binary(), connector, ports.flink_rest, ports.flink_rpc, metrics)


def flink_services(cluster: FlinkCluster) -> list[Service]:
    """Return the two processes of the cluster."""
    managers, tasks = ({port: metrics_setting("flink")} for port in cluster.metrics_ports)
    managers |= {cluster.rest_port: "STACK__FLINK_REST_PORT", cluster.rpc_port: "STACK__FLINK_RPC_PORT"}
    address = f"http://{LOOPBACK}:{cluster.metrics_ports[1]}/metrics"
    return [
        Service("flink-jobmanager", cluster.job_manager(), cluster.prepare, managers, cluster.rest_url),
        Service("flink-taskmanager", cluster.task_manager(), _nothing, tasks, address),
    ]


def worker_services(home: Home, settings: Settings, workers: int, options: tuple[str, ...] = ()) -> list[Service]:
    """Return the workers, one process each; ``options`` go to `groundswell work`.

    Where a port for the metrics is set, it is the first worker's, and the others take those that follow.
    """
    group, arguments, first = settings.worker.group, ("work", *options), settings.worker.metrics_port
    if first + workers - 1 > LAST_PORT:
        what = f"{ENV_PREFIX}WORKER__METRICS_PORT = {first} leaves no ports for {workers} workers"
        raise ConfigurationError(what, f"set it to {LAST_PORT - workers + 1} at most, or to 0 for free ones")
    members = [GroupMember(f"worker-{number + 1}", arguments, home, settings.kafka, group, workers) for number in range(workers)]
    return [_member(each, _following(first, number)) for number, each in enumerate(members)]


def notifier_service(home: Home, settings: Settings) -> Service:
    """Return the notifier."""
    member = GroupMember("notifier", ("notify",), home, settings.kafka, settings.notify.group)
    return _member(member, settings.notify.metrics_port)


def bring_up(home: Home, services: Sequence[Service], timeout_s: float, tell: Tell) -> None:
    """Start what does not run, all at once, then wait for each. What runs is left alone.

    Raises Unavailable with the end of the log when one does not come up in time, and ends that one.
    """
    begun = time.monotonic()
    refuse_taken_ports(home, services)
    started = {service.name: _ensure(home, service) for service in services}
    for service in services:
        process, fresh = started[service.name]
        try:
            wait_ready(process, service.server.ready, timeout_s)
        except Unavailable as problem:
            stop(process)
            home.forget(service.name)
            raise Unavailable(f"{problem}\nAsk what is wrong: groundswell doctor. Then go on: groundswell up") from problem
        seconds = f"ready after {time.monotonic() - begun:.1f} s" if fresh else "runs already"
        tell(f"{service.name}: {seconds}, {service.address}")


def bring_down(home: Home, tell: Tell, names: Iterable[str] | None = None) -> int:
    """Stop the stack's processes (or those named), readers before servers, and all that they left behind.

    Returns how many processes ended. The data stay.
    """
    started = home.started()
    chosen = [name for name in started if names is None or name in names]
    ended = 0
    for name in sorted(chosen, key=_stop_rank):
        count = stop(started[name], STOP_TIMEOUT_S)
        ended += count
        tell(f"{name}: {'stopped' if count else 'was not running'}")
        _forget(home, name, tell)
    return ended


def sweep(home: Home, tell: Tell) -> None:
    """End processes that carry this stack's marker although no file remembers them; then drop what Flink left of its jobs."""
    for stray in owned(home.marker):
        stop(stray, STOP_TIMEOUT_S)
        tell(f"{stray.name}: ended process {stray.pid}, which was left over")
    shutil.rmtree(home.folder / FLINK_FOLDER / TEMPORARY, ignore_errors=True)


def running_cluster(home: Home) -> RunningCluster | None:
    """Return the stack's Flink where stack.json tells of one."""
    remembered = home.read().get("flink")
    return None if remembered is None else RunningCluster(home.folder / FLINK_FOLDER, remembered["rest_url"])


def _forget(home: Home, name: str, tell: Tell) -> None:
    """Drop what is stopped; a full disk, as a rule why somebody stops the stack, must not keep the others running."""
    try:
        home.forget(name)
    except ConfigurationError as problem:
        tell(f"{name}: status will not name it as stopped ({problem})")


def _ensure(home: Home, service: Service) -> tuple[Started, bool]:
    """Return the service's process, and whether it was started now."""
    known = home.started().get(service.name)
    if known is not None:
        if is_alive(known):
            return known, False
        stop(known)  # it died; what it left behind must not stay beside its successor
    service.prepare()
    process = start(service.server.command(), home.marker)
    home.remember(process)
    return process, True


def refuse_taken_ports(home: Home, services: Sequence[Service]) -> None:
    """Raise ConfigurationError before anything is started, where two want one port or somebody else listens on one."""
    known = home.started()
    _refuse_shared_ports(services)
    for service in services:
        if service.name in known and is_alive(known[service.name]):
            continue
        for port, setting in service.ports.items():
            if is_listening(port):
                raise ConfigurationError(
                    f"port {port} of {service.name} is taken by another process on {LOOPBACK}; end that one (groundswell "
                    f"doctor names it), or give this stack another port: {ENV_PREFIX}{setting}=PORT groundswell up"
                )


def _refuse_shared_ports(services: Iterable[Service]) -> None:
    wanted: dict[int, str] = {}
    for service in services:
        for port, setting in service.ports.items():
            if port in wanted:
                what = f"port {port} is wanted by {wanted[port]} and by {service.name}"
                raise ConfigurationError(what, f"give one of them another: {ENV_PREFIX}{setting}=PORT groundswell up")
            wanted[port] = service.name


def _following(port: int, steps: int) -> int:
    """Return the port that many after ``port``; where none is set, none."""
    return port + steps if port else 0


def _member(member: GroupMember, wanted_port: int) -> Service:
    port = member.home.metrics_port(member.name, wanted_port)
    return Service(member.name, member, _nothing, {port: metrics_setting(member.name)}, f"http://{LOOPBACK}:{port}/metrics")


def _stop_rank(name: str) -> tuple[int, str]:
    ranks = [rank for rank, prefix in enumerate(STOP_ORDER) if name.startswith(prefix)]
    return (ranks[0] if ranks else 0), name


def _nothing() -> None:
    """Prepare nothing."""
