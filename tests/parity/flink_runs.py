"""What the tests of the Flink host share: posts into Kafka, the job on a real cluster, and what it wrote."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from infra.flink_cluster import FlinkCluster
from infra.flink_job import SCRIPT
from infra.provision import expected_topics, provision
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.adapters.kafka_reader import KafkaReader
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.events import Alert, ScoredPost, Trend
from pipeline.jobs.trends import make_host
from pipeline.jobs.trends_job import TrendsJob
from pipeline.jobs.trends_settings import describe
from pipeline.settings import KafkaSettings, Settings


@dataclass
class Told:
    """What a host gave out, in its order."""

    trends: list[Trend] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    late: list[ScoredPost] = field(default_factory=list)

    def of(self, entity: str) -> list[bytes]:
        """Return the trends and alerts of one entity as they are written, in order."""
        trends = [trend.to_json() for trend in self.trends if trend.entity == entity]
        return trends + [alert.to_json() for alert in self.alerts if alert.entity == entity]


def settings_for(bootstrap: str, prefix: str) -> Settings:
    """Return settings for topics of a test's own, which are made here."""
    kafka = KafkaSettings(bootstrap=bootstrap, topic_prefix=prefix)
    with KafkaAdmin(kafka) as admin:
        provision(admin, expected_topics(prefix, 1), apply=False)
    return Settings(kafka=kafka)


def publish(kafka: KafkaSettings, topic: str, posts: Iterable[ScoredPost]) -> None:
    """Write scored posts as the worker does."""
    sink = KafkaSink(kafka)
    for post in posts:
        sink.write(topic, post.entity.encode(), post.to_json(), post.event_time_ms)
    sink.close()


def run_to_end(flink: FlinkCluster, job: TrendsJob, timeout_s: float = 300) -> None:
    """Run the job over what the topic holds and wait for its end."""
    path = flink.folder / f"{job.group}.json"
    path.write_text(job.model_dump_json(), "utf-8")
    rest = flink.rest()
    try:
        rest.wait_for(flink.submit(SCRIPT, [str(path)]), "FINISHED", timeout_s)
    finally:
        rest.close()


def bounded_job(settings: Settings, parallelism: int = 1, execution_mode: str = "process") -> TrendsJob:
    """Return the job that ends at the end of the topic."""
    changes = {"bounded": True, "parallelism": parallelism, "execution_mode": execution_mode}
    return describe(settings).model_copy(update=changes)


def told_by_flink(kafka: KafkaSettings, job: TrendsJob) -> Told:
    """Return what stands in the job's output topics."""
    reader = KafkaReader(kafka)
    return Told(
        [Trend.model_validate_json(record.value) for record in reader.read_range(job.trends)],
        [Alert.model_validate_json(record.value) for record in reader.read_range(job.alerts)],
        [ScoredPost.model_validate_json(record.value) for record in reader.read_range(job.late)],
    )


def told_in_process(job: TrendsJob, posts: Sequence[ScoredPost]) -> Told:
    """Return what the in-process host says about the same posts."""
    host = make_host(job.detector)
    steps = [*host.on_posts(posts), host.finish()]
    return Told(
        [trend for step in steps for trend in step.trends],
        [alert for step in steps for alert in step.alerts],
        [post for step in steps for post in step.late],
    )
