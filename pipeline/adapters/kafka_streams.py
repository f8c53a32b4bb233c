"""Source and sink on Apache Kafka."""

from pipeline.adapters.kafka_sink import KafkaSink, wall_clock_ms
from pipeline.adapters.kafka_source import KafkaSource

__all__ = ["KafkaSink", "KafkaSource", "wall_clock_ms"]
