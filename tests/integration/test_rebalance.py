"""A second member joins while the first one has records on the device: they are finished and committed before they move."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from pipeline.adapters.kafka_admin import KafkaAdmin, TopicState
from pipeline.adapters.kafka_reader import KafkaReader
from pipeline.adapters.kafka_sink import KafkaSink
from pipeline.adapters.kafka_source import KafkaSource
from pipeline.adapters.time_ordered import TimeOrderedSource
from pipeline.adapters.waiting import wait_until
from pipeline.settings import KafkaSettings
from pipeline.topics import TOPICS
from tests.unit.workers.playground import NOW, Playground, Slow, post, rules
from workers.rules import TopicNames
from workers.worker import Connections

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]  # more than its own time limits, and Kafka's start
POSTS = 40
DEADLINE_S = 40.0


@pytest.fixture
def kafka(kafka_bootstrap: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap=kafka_bootstrap, topic_prefix=topic_prefix, session_timeout_ms=6_000)
    with KafkaAdmin(settings) as admin:
        admin.create([TopicState(topic.full_name(topic_prefix), topic.partitions, 1, {}) for topic in TOPICS])
    with closing(KafkaSink(settings)) as sink:
        for number in range(POSTS):
            value = post(number)
            sink.write(f"{topic_prefix}posts", value["event_id"].encode(), json.dumps(value).encode(), NOW)
    return settings


@contextmanager
def working(ground: Playground, kafka: KafkaSettings) -> Iterator[KafkaSource]:
    """A worker on a thread of its own, with Kafka's streams and the playground's store."""
    source = KafkaSource(kafka, f"{kafka.topic_prefix}g", [ground.rules.topics.posts])
    stop = threading.Event()
    with closing(source), closing(KafkaSink(kafka)) as sink:
        worker = ground.worker(Connections(TimeOrderedSource(source), sink, ground.store))
        thread = threading.Thread(target=worker.run, args=(stop,))
        thread.start()
        try:
            yield source
        finally:
            stop.set()
            thread.join()
            worker.close()


def test_what_is_in_flight_is_not_done_again_by_the_next_owner(kafka: KafkaSettings) -> None:
    names = TopicNames.with_prefix(kafka.topic_prefix)
    encoder = Slow()
    first = Playground(encoder=encoder, rules=rules(topics=names, max_poll_records=POSTS))
    second = Playground(store=first.store, rules=first.rules)
    with working(first, kafka) as source:
        assert encoder.entered.wait(DEADLINE_S)
        with working(second, kafka), KafkaAdmin(kafka) as admin:
            assert wait_until(source.rebalance_due, DEADLINE_S)
            encoder.let.set()
            assert wait_until(lambda: sum(admin.committed(f"{kafka.topic_prefix}g").values()) == POSTS, DEADLINE_S, 0.2)
            assert wait_until(lambda: admin.members(f"{kafka.topic_prefix}g") == 2, DEADLINE_S, 0.2)
    ids = [json.loads(record.value)["event_id"] for record in KafkaReader(kafka).read_range(names.scored)]
    assert sorted(ids) == sorted(f"p{number}" for number in range(POSTS))
