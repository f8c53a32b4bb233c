from pathlib import Path

from pydantic import SecretStr

from pipeline.core.detector_config import DetectorConfig
from pipeline.core.prior import Prior
from pipeline.core.seasonality import SLOTS, SeasonalProfile
from pipeline.jobs.trends_job import TrendsJob
from pipeline.jobs.trends_settings import describe, java_options
from pipeline.settings import KafkaSettings, Settings, TrendSettings


def test_the_document_keeps_every_number_of_the_detector() -> None:
    settings = Settings(trends=TrendSettings(false_alerts_per_entity_day=0.02, cooldown_ms=7))
    season = SeasonalProfile("UTC", tuple(1 + slot / SLOTS for slot in range(SLOTS)))
    fitted = DetectorConfig(prior=Prior(season=season))
    for job in (describe(settings), describe(settings).model_copy(update={"detector": fitted})):
        again = TrendsJob.model_validate_json(job.model_dump_json())
        assert again == job
        assert again.detector.config_hash == job.detector.config_hash
        assert again.detector.prior.season.exposure(0, 10**9) == job.detector.prior.season.exposure(0, 10**9)


def test_topics_carry_the_prefix_and_name_the_job() -> None:
    job = describe(Settings(kafka=KafkaSettings(topic_prefix="x.")))
    assert (job.scored, job.trends, job.alerts, job.late, job.dead_letters) == (
        "x.scored",
        "x.trends",
        "x.alerts",
        "x.late",
        "x.dead-letters",
    )
    assert job.name == "groundswell trends on x.scored"


def test_security_settings_in_the_words_of_javas_client(tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    certificate.write_text("CERTIFICATE", "ascii")
    key.write_text("KEY", "ascii")
    kafka = KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="app",
        sasl_password=SecretStr('a"b\\c'),
        ssl_cafile=Path("ca.pem"),
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    options = java_options(kafka)
    assert options["sasl.jaas.config"] == (
        "org.apache.flink.kafka.shaded.org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="app" password="a\\"b\\\\c";'
    )
    assert options["ssl.truststore.location"] == "ca.pem"
    assert (options["ssl.keystore.certificate.chain"], options["ssl.keystore.key"]) == ("CERTIFICATE", "KEY")
    assert java_options(KafkaSettings()) == {"security.protocol": "PLAINTEXT"}
