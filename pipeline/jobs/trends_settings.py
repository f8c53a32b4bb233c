"""What the settings mean for the trends job: topics, detector, and Kafka's security in the words of its Java client."""

from typing import Final

from pipeline.jobs.detector import detector_config
from pipeline.jobs.trends_job import TrendsJob
from pipeline.settings import KafkaSettings, Settings
from pipeline.times import MINUTE_MS
from pipeline.topics import ALERTS, DEAD_LETTERS, LATE, SCORED, TRENDS

SHADED: Final = "org.apache.flink.kafka.shaded."  # the connector's jar carries Kafka's client under this name
LEAST_EMPTY_AFTER_MS: Final = MINUTE_MS  # tasks that start on a busy machine may need half a minute to their first record
LOGIN_MODULES: Final = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}


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
        empty_after_ms=max(settings.trends.idleness_ms, LEAST_EMPTY_AFTER_MS),
        parallelism=settings.trends.parallelism,
        execution_mode=settings.trends.execution_mode,
        checkpoint_interval_ms=settings.trends.checkpoint_interval_ms,
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


def _login(kafka: KafkaSettings) -> str:
    """Return the JAAS line; quotes and backslashes in names and passwords are escaped as its grammar asks."""
    module = LOGIN_MODULES.get(kafka.sasl_mechanism or "", LOGIN_MODULES["PLAIN"])
    password = "" if kafka.sasl_password is None else kafka.sasl_password.get_secret_value()
    user, secret = (value.replace("\\", "\\\\").replace('"', '\\"') for value in (kafka.sasl_username or "", password))
    return f'{SHADED}{module} required username="{user}" password="{secret}";'
