"""What readers of Kafka see of transactions: Flink's job writes with them, so that a killed task takes back what it told."""

import pytest
from kafka import KafkaProducer

from infra.provision import expected_topics, provision
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.adapters.kafka_reader import KafkaReader
from pipeline.adapters.kafka_source import KafkaSource
from pipeline.adapters.waiting import wait_until
from pipeline.settings import KafkaSettings
from pipeline.topics import ALERTS

pytestmark = pytest.mark.integration

NOW_MS = 1_700_000_000_000


def test_readers_see_committed_records_only(kafka_bootstrap: str, topic_prefix: str) -> None:
    kafka = KafkaSettings(bootstrap=kafka_bootstrap, topic_prefix=topic_prefix)
    topic = ALERTS.full_name(topic_prefix)
    with KafkaAdmin(kafka) as admin:
        provision(admin, expected_topics(topic_prefix, 1), apply=False)
    source, reader = KafkaSource(kafka, f"{topic_prefix}readers", [topic]), KafkaReader(kafka)
    producer = KafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=f"{topic_prefix}writer")
    producer.init_transactions()
    for value, is_kept in ((b"kept", True), (b"taken back", False), (b"kept too", True)):
        producer.begin_transaction()
        producer.send(topic, key=b"AAPL", value=value, timestamp_ms=NOW_MS)
        producer.flush()
        assert value not in {record.value for record in reader.read_range(topic)}, "it is not committed yet"
        if is_kept:
            producer.commit_transaction()
        else:
            producer.abort_transaction()

    polled: list[bytes] = []

    def is_done() -> bool:
        polled.extend(record.value for record in source.poll(10, 200))
        return len(polled) >= 2 and not any(source.lag().values())

    assert wait_until(is_done, 30)
    assert polled == [b"kept", b"kept too"] == [record.value for record in reader.read_range(topic)]
    producer.close()
    source.close()
