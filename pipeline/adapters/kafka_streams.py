"""Source and sink on Apache Kafka."""

from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.kafka_source import KafkaSource

__all__ = ["KafkaSink", "KafkaSource"]
