import pytest

from pipeline.topics import TOPICS, Topic


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_key_is_a_required_field_of_the_contract(topic: Topic) -> None:
    assert topic.contract.model_fields[topic.key].is_required()


def test_names_are_distinct_and_take_the_prefix() -> None:
    names = [topic.full_name("p.") for topic in TOPICS]
    assert len(set(names)) == len(TOPICS)
    assert all(name.startswith("p.") for name in names)
