"""The trends job on a Flink cluster: described from the settings, submitted once, stopped and resumed without losing state.

FOLDER/trends/job.json      what the job is told; private, because Kafka's credentials stand in it
FOLDER/trends/submissions   the ids under which it was submitted, so that its checkpoints are found after a crash
FOLDER/trends/savepoints    where ``stop_with_savepoint`` writes
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.flink_cluster import FlinkCluster
from pipeline.adapters.flink_rest import FINAL_STATES, FlinkRest
from pipeline.adapters.waiting import wait_until
from pipeline.core.detector_config import DetectorConfig, Lifecycle
from pipeline.errors import Unavailable
from pipeline.jobs import trends_job
from pipeline.jobs.trends_job import TrendsJob
from pipeline.settings import KafkaSettings, Settings, TrendSettings
from pipeline.topics import ALERTS, DEAD_LETTERS, LATE, SCORED, TRENDS

SCRIPT: Final = Path(trends_job.__file__).with_name("trends_flink.py")
SHADED: Final = "org.apache.flink.kafka.shaded."  # the connector's jar carries Kafka's client under this name
LOGIN_MODULES: Final = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


@dataclass(frozen=True, slots=True)
class Submitted:
    """A running job: its id, whether this call started it, and the checkpoint or savepoint it went on from."""

    job_id: str
    fresh: bool
    resumed_from: str | None


def detector_config(trends: TrendSettings) -> DetectorConfig:
    """Return the detector's configuration: what users set, and the rest as shipped. The same for every host."""
    return DetectorConfig(
        false_alerts_per_entity_day=trends.false_alerts_per_entity_day,
        allowed_lateness_ms=trends.allowed_lateness_ms,
        out_of_orderness_ms=trends.out_of_orderness_ms,
        lifecycle=Lifecycle(cooldown_ms=trends.cooldown_ms),
    )


def describe(settings: Settings) -> TrendsJob:
    """Return what the job must know of the settings."""
    prefix = settings.kafka.topic_prefix
    return TrendsJob(
        bootstrap=settings.kafka.bootstrap,
        properties=java_options(settings.kafka),
        group=f"{prefix}trends",
        scored=SCORED.full_name(prefix),
        trends=TRENDS.full_name(prefix),
        alerts=ALERTS.full_name(prefix),
        late=LATE.full_name(prefix),
        dead_letters=DEAD_LETTERS.full_name(prefix),
        detector=detector_config(settings.trends),
        idleness_ms=settings.trends.idleness_ms,
        parallelism=settings.trends.parallelism,
        execution_mode=settings.trends.execution_mode,
    )


def java_options(kafka: KafkaSettings) -> dict[str, str]:
    """Return the security settings as Java's Kafka client names them; certificates stay in their PEM files."""
    options: dict[str, str] = {"security.protocol": kafka.security_protocol}
    if kafka.sasl_mechanism is not None:
        options |= {"sasl.mechanism": kafka.sasl_mechanism, "sasl.jaas.config": _login(kafka)}
    if kafka.ssl_cafile is not None:
        options |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(kafka.ssl_cafile)}
    if kafka.ssl_certfile is not None and kafka.ssl_keyfile is not None:
        options |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": kafka.ssl_certfile.read_text("ascii"),
            "ssl.keystore.key": kafka.ssl_keyfile.read_text("ascii"),
        }
    return options


def ensure_running(cluster: FlinkCluster, job: TrendsJob, timeout_s: float, *, from_beginning: bool = False) -> Submitted:
    """Leave a running job alone; else submit it, from its newest checkpoint or savepoint unless ``from_beginning``.

    Returns when all its tasks run. Raises Unavailable with the job's own exception when they do not in time, Stop when
    Flink's client refuses it.
    """
    rest = cluster.rest()
    try:
        running = running_job(rest, job)
        if running is not None:
            return Submitted(running, fresh=False, resumed_from=None)
        if from_beginning:
            forget(cluster.folder)
        resume = latest_checkpoint(cluster.folder)
        job_id = cluster.submit(SCRIPT, [str(_write(cluster.folder, job))], None if resume is None else resume.as_uri())
        with (_place(cluster.folder) / "submissions").open("a", encoding="ascii") as file:
            file.write(f"{job_id}\n")
        if not wait_until(lambda: rest.state(job_id) in FINAL_STATES or rest.tasks_running(job_id), timeout_s, interval_s=0.2):
            raise Unavailable(f"the trends job does not run after {timeout_s:g} s. {rest.exceptions(job_id)[:2000]}")
        return Submitted(job_id, fresh=True, resumed_from=None if resume is None else str(resume))
    finally:
        rest.close()


def running_job(rest: FlinkRest, job: TrendsJob) -> str | None:
    """Return the id under which this job runs or is being restarted; None where it does not."""
    return next((each.job_id for each in rest.jobs() if each.name == job.name and each.state not in FINAL_STATES), None)


def stop_with_savepoint(cluster: FlinkCluster, job: TrendsJob, timeout_s: float) -> str | None:
    """Stop the job after its state is written; return the savepoint, or None where it does not run.

    Raises Unavailable when the savepoint fails: then the last checkpoint, at most one interval old, serves as well.
    """
    rest = cluster.rest()
    try:
        job_id = running_job(rest, job)
        if job_id is None:
            return None
        return rest.stop_with_savepoint(job_id, (_place(cluster.folder) / "savepoints").as_uri(), timeout_s)
    finally:
        rest.close()


def latest_checkpoint(folder: Path) -> Path | None:
    """Return the newest complete checkpoint or savepoint of the job on this cluster, or None."""
    complete = [each for each in _retained(folder) if (each / "_metadata").is_file()]
    return max(complete, key=lambda each: (each / "_metadata").stat().st_mtime_ns, default=None)


def forget(folder: Path) -> None:
    """Forget every checkpoint and savepoint: the next submission reads the scored posts from the beginning."""
    (_place(folder) / "submissions").unlink(missing_ok=True)
    shutil.rmtree(_place(folder) / "savepoints", ignore_errors=True)


def _retained(folder: Path) -> Iterator[Path]:
    submissions = _place(folder) / "submissions"
    for job_id in submissions.read_text("ascii").split() if submissions.is_file() else ():
        yield from (folder / "checkpoints" / job_id).glob("chk-*")
    yield from (_place(folder) / "savepoints").glob("savepoint-*")


def _place(folder: Path) -> Path:
    place = folder / "trends"
    place.mkdir(parents=True, exist_ok=True)
    return place


def _write(folder: Path, job: TrendsJob) -> Path:
    path = _place(folder) / "job.json"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(job.model_dump_json())
    return path


def _login(kafka: KafkaSettings) -> str:
    """Return the JAAS line; quotes and backslashes in names and passwords are escaped as its grammar asks."""
    module = LOGIN_MODULES.get(kafka.sasl_mechanism or "", LOGIN_MODULES["PLAIN"])
    password = "" if kafka.sasl_password is None else kafka.sasl_password.get_secret_value()
    user, secret = (value.replace("\\", "\\\\").replace('"', '\\"') for value in (kafka.sasl_username or "", password))
    return f'{SHADED}{module} required username="{user}" password="{secret}";'
