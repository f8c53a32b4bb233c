import pytest

from pipeline.events import Action, BehaviorEvent, SocialPost
from pipeline.topics import EVENTS, POSTS, TOPICS, Topic, topic_of


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_the_key_is_a_required_field_of_the_contract(topic: Topic) -> None:
    assert topic.contract.model_fields[topic.key].is_required()


def test_names_are_distinct_and_take_the_prefix() -> None:
    names = [topic.full_name("p.") for topic in TOPICS]
    assert len(set(names)) == len(TOPICS)
    assert all(name.startswith("p.") for name in names)


def test_an_event_goes_to_its_topic_under_its_key() -> None:
    post = SocialPost(event_id="p-1", event_time_ms=1_704_067_200_000, author_id="ana", text="kaputt 💥")
    click = BehaviorEvent(event_id="c-1", event_time_ms=1_704_067_200_000, user_id="zoë", action=Action.CLICK)
    assert [(topic_of(event), topic_of(event).key_of(event)) for event in (post, click)] == [
        (POSTS, b"p-1"),
        (EVENTS, "zoë".encode()),
    ]
