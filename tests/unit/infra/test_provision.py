from dataclasses import replace

from infra.kafka_server import MAX_RECORD_BYTES
from infra.provision import differences, expected_topics

EXPECTED = expected_topics("p.", 1)


def test_equal_topics_differ_in_nothing() -> None:
    assert differences(EXPECTED, {topic.name: topic for topic in EXPECTED}) == []


def test_a_missing_topic_is_one_difference_with_the_command_that_makes_it() -> None:
    (found,) = differences(EXPECTED, {topic.name: topic for topic in EXPECTED[1:]})
    assert (found.topic, found.property, found.fix) == (EXPECTED[0].name, "topic", "groundswell provision")


def test_too_many_and_too_few_partitions_are_refused_for_their_own_reasons() -> None:
    few, many = (replace(EXPECTED[0], partitions=EXPECTED[0].partitions + step) for step in (-1, 1))
    rest = {topic.name: topic for topic in EXPECTED[1:]}
    (too_few,) = differences(EXPECTED, {**rest, few.name: few})
    (too_many,) = differences(EXPECTED, {**rest, many.name: many})
    assert "event_id" in too_few.fix
    assert "take partitions away" in too_many.fix


def test_replication_that_differs_names_the_setting() -> None:
    (found,) = differences(EXPECTED[:1], {EXPECTED[0].name: replace(EXPECTED[0], replication_factor=3)})
    assert found.fix == "export GROUNDSWELL_KAFKA__REPLICATION_FACTOR=3"


def test_the_local_broker_takes_the_largest_record_of_the_table() -> None:
    assert max(int(topic.configs["max.message.bytes"]) for topic in EXPECTED) <= MAX_RECORD_BYTES
