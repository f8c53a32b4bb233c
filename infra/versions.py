"""The versions of the servers: the local stack and the doctor read them here, and a test holds the Docker description to them."""

from typing import Final

KAFKA_VERSION: Final = "4.4.0"
REDIS_VERSION: Final = "8.2.3"
FLINK_VERSION: Final = "2.2.1"
FLINK_CONNECTOR_VERSION: Final = "5.0.0-2.2"

KAFKA: Final = f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"
KAFKA_LOGGING: Final = "org.apache.logging.log4j:log4j-slf4j-impl:2.25.5"  # with slf4j-nop a broker dies without a word
FLINK_CONNECTOR: Final = f"org.apache.flink:flink-sql-connector-kafka:{FLINK_CONNECTOR_VERSION}"

OLDEST_JAVA: Final = 17  # Kafka 4 brokers need 17; Flink 2 runs on 11, 17 and 21
OLDEST_KAFKA: Final = (4, 0)  # KRaft only, share groups' coordinator, KIP-848
OLDEST_REDIS: Final = (8, 0)  # vector sets
FLINK_PYTHONS: Final = ("3.11", "3.12")  # apache-flink 2.2 has no wheel for later ones

PROMETHEUS_VERSION: Final = "v3.5.0"
GRAFANA_VERSION: Final = "12.1.1"
