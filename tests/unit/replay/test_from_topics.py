from collections.abc import Iterable

import pytest

from pipeline.adapters.memory import MemoryBroker, MemorySink
from pipeline.adapters.memory_reader import MemoryReader
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.trends import post_order
from pipeline.errors import ConfigurationError
from pipeline.events import Alert, ScoredPost, SocialPost
from pipeline.replay.from_topics import check_prefix, published, read_topic
from pipeline.replay.play import Tally, play
from pipeline.replay.recorded import as_they_came
from tests.unit.core.streams import DAY_MS, START_MS, eventful, scored_post

ALL = (0, START_MS + 100 * DAY_MS)


def broker_with(posts: list[ScoredPost]) -> MemoryBroker:
    broker = MemoryBroker.with_table("live.")
    sink = MemorySink(broker)
    for post in posts:
        sink.write("live.scored", post.entity.encode(), post.to_json(), post.event_time_ms)
    sink.write("live.scored", b"A", b"not json", START_MS)
    sink.flush()
    return broker


def no_scores(posts: object) -> list[ScoredPost]:
    raise AssertionError("scored posts need no scoring")


def test_a_topic_gives_its_posts_over_all_partitions() -> None:
    posts = eventful()
    lanes = read_topic(MemoryReader(broker_with(posts[::-1])), "topic:scored", "live.", ALL, no_scores)
    assert sorted((post for lane in lanes for post in lane), key=post_order) == posts


def test_lanes_keep_the_order_of_their_partitions_so_that_late_posts_stay_late() -> None:
    late, other = scored_post("late", START_MS), scored_post("other", START_MS + 1, entity="B")
    first, last = scored_post("first", START_MS + 2 * DAY_MS), scored_post("last", START_MS + 3 * DAY_MS)
    lanes = read_topic(MemoryReader(broker_with([first, late, other, last])), "topic:scored", "live.", ALL, no_scores)
    assert len(lanes) == 2
    assert [post.event_id for post in as_they_came(lanes)] == ["other", "first", "late", "last"]


def test_a_range_is_exclusive_at_its_end() -> None:
    posts = eventful()
    span = (posts[10].event_time_ms, posts[20].event_time_ms)
    lanes = read_topic(MemoryReader(broker_with(posts)), "topic:scored", "live.", span, no_scores)
    assert sorted((post for lane in lanes for post in lane), key=post_order) == posts[10:20]


def test_raw_posts_of_a_topic_are_scored() -> None:
    broker = MemoryBroker.with_table("")
    raw = SocialPost(event_id="1", event_time_ms=START_MS, author_id="a", text="t")
    sink = MemorySink(broker)
    sink.write("posts", b"1", raw.to_json(), START_MS)
    seen: list[SocialPost] = []

    def score(posts: Iterable[SocialPost]) -> list[ScoredPost]:
        seen.extend(posts)
        return [scored_post("1", START_MS)]

    lanes = read_topic(MemoryReader(broker), "topic:posts", "", ALL, score)
    assert [[post.event_id for post in lane] for lane in lanes] == [["1"]]
    assert seen == [raw]


def test_another_topic_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="topic:alerts cannot be replayed"):
        read_topic(MemoryReader(MemoryBroker({})), "topic:alerts", "", ALL, no_scores)


def test_a_published_replay_stands_in_topics_of_its_own() -> None:
    broker = MemoryBroker.with_table("again.")
    steps = list(published(play(eventful(), DetectorConfig(), Tally()), MemorySink(broker), "again."))
    stored = [Alert.model_validate_json(record.value) for record in MemoryReader(broker).read_range("again.alerts")]
    assert stored == [alert for step in steps for alert in step.alerts]
    assert len(list(MemoryReader(broker).read_range("again.trends"))) == sum(len(step.trends) for step in steps)


def test_a_post_behind_the_allowed_lateness_is_published_as_late() -> None:
    broker = MemoryBroker.with_table("again.")
    posts = [scored_post("newest", START_MS + DAY_MS), scored_post("late", START_MS)]
    list(published(play(posts, DetectorConfig(), Tally()), MemorySink(broker), "again."))
    late = [ScoredPost.model_validate_json(record.value) for record in MemoryReader(broker).read_range("again.late")]
    assert late == posts[1:]


def test_the_live_prefix_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is the live prefix"):
        check_prefix("groundswell.", "groundswell.")
