"""What `status` tells: each service, and the accounting equation."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from infra.home import Home
from infra.ports import LOOPBACK
from infra.processes import Started, is_alive
from infra.stack import running_cluster
from pipeline.adapters.flink_rest import FlinkJob, FlinkRest
from pipeline.adapters.health import ask_readiness
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.errors import Unavailable
from pipeline.jobs.accounting import Account, account
from pipeline.settings import Settings
from pipeline.topics import EVENTS, POSTS

GOOD_STATES: Final = ("running", "RUNNING")
EVERYWHERE: Final = ("", "0.0.0.0")  # hosts to listen on, and none to ask
START: Final = "start it with: groundswell up"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service: ``state`` is running, not ready, stopped, dead or unreachable; for the trends job it is Flink's word."""

    name: str
    state: str
    detail: str

    @property
    def ok(self) -> bool:
        """Tell whether the service does its work."""
        return self.state in GOOD_STATES


@dataclass(frozen=True, slots=True)
class Report:
    """All services, and the account where Kafka and Redis answer."""

    services: tuple[ServiceState, ...]
    account: Account | None

    @property
    def healthy(self) -> bool:
        """Tell whether every service works and the equation holds."""
        return self.account is not None and self.account.balanced and all(each.ok for each in self.services)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON; numbers are null where the servers do not answer."""
        names = ("accepted", "scored", "dead_letters", "in_flight", "lag", "balanced")
        numbers = {name: None if self.account is None else getattr(self.account, name) for name in names}
        problems = [] if self.account is None else list(self.account.problems)
        return numbers | {"problems": problems, "services": [asdict(each) for each in self.services]}


def report(home: Home, settings: Settings) -> Report:
    """Ask every service of the stack, and the servers for the numbers."""
    started = home.started()
    services = [_process(each, _health(home, settings, each.name)) for each in started.values()]
    services += [ServiceState(name, "stopped", START) for name in home.stopped()]
    cluster = running_cluster(home)
    if "flink-jobmanager" in started and cluster is not None:
        services += _jobs(cluster.rest_url)
    try:
        return Report(tuple(services), read_account(settings))
    except Unavailable as error:
        return Report((*services, ServiceState("accounting", "unreachable", str(error))), None)


def read_account(settings: Settings) -> Account:
    """Return the account of the input topics: commits first, then counters, then the broker's ends."""
    from pipeline.adapters.redis_store import RedisProfileStore, connect

    topics = [topic.full_name(settings.kafka.topic_prefix) for topic in (POSTS, EVENTS)]
    client = connect(settings.redis.url.get_secret_value())
    with KafkaAdmin(settings.kafka) as admin, client:
        committed = admin.committed(settings.worker.group)
        progress = RedisProfileStore(client, settings.redis.key_prefix).progress(admin.offsets(topics))
        return account(admin.offsets(topics), progress, committed)


def _process(started: Started, health: tuple[str, int] | None) -> ServiceState:
    if not is_alive(started):
        return ServiceState(started.name, "dead", f"its log: {started.log}; {START}")
    why_not = "" if health is None else _why_not_ready(*health)
    if why_not:
        return ServiceState(started.name, "not ready", f"process {started.pid}: {why_not}; its log: {started.log}")
    return ServiceState(started.name, "running", f"process {started.pid}")


def _health(home: Home, settings: Settings, name: str) -> tuple[str, int] | None:
    """Return host and port on which a worker or the notifier says whether it is ready; servers of others say it nowhere."""
    section = settings.worker if name.startswith("worker") else settings.notify if name == "notifier" else None
    port = home.read().get("metrics", {}).get(name)
    if section is None or port is None:
        return None
    return LOOPBACK if section.metrics_host in EVERYWHERE else section.metrics_host, port


def _why_not_ready(host: str, port: int) -> str:
    try:
        readiness = ask_readiness(host, port)
    except Unavailable as error:
        return f"{error}; it starts, or is stuck"
    return "" if readiness.ready else readiness.detail or "it does not say why"


def _jobs(rest_url: str) -> list[ServiceState]:
    """Return the state of the jobs that go on; of those that failed, only where none took their place."""
    rest = FlinkRest(rest_url)
    try:
        live = [job for job in rest.jobs() if job.state not in ("CANCELED", "FINISHED")]
        going = [job for job in live if job.state != "FAILED"]
        found = [_job(rest, job) for job in going or live]
    except Unavailable as error:
        return [ServiceState("trends", "unreachable", str(error))]
    finally:
        rest.close()
    return found or [ServiceState("trends", "stopped", f"no job runs, so there are no trends and no alerts; {START}")]


def _job(rest: FlinkRest, job: FlinkJob) -> ServiceState:
    starting = job.state == "RUNNING" and not job.tasks_run
    cause = "" if job.state == "RUNNING" else rest.cause(job.job_id).partition("\n")[0]
    page = f"{rest.url}/#/job/{job.job_id}"
    return ServiceState("trends", "STARTING" if starting else job.state, f"{page} {cause}".rstrip())
