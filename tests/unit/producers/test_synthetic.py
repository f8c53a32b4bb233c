import gzip
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from threading import Event

import pytest

from pipeline.adapters.memory import MemoryBroker, MemorySink
from pipeline.contract import EARLIEST_MS, LATEST_MS
from pipeline.errors import ConfigurationError
from pipeline.events import BehaviorEvent, SocialPost
from pipeline.times import HOUR_MS
from producers.phrases import COMPANIES
from producers.synthetic import SPIKE_LIFT, SyntheticConfig, activity, posts, sentence, stream, truth
from producers.synthetic_output import Track, send, write_posts, write_truth

CONFIG = SyntheticConfig(seed=11, posts=3_000, users=40)


@pytest.fixture(scope="module")
def made() -> list[SocialPost]:
    return list(posts(CONFIG))


def test_equal_configurations_give_equal_events_and_others_do_not() -> None:
    first = [event.to_json() for event in stream(CONFIG)]
    assert first == [event.to_json() for event in stream(CONFIG)]
    assert first != [event.to_json() for event in stream(replace(CONFIG, seed=12))]


def test_events_come_in_order_within_the_time_covered_with_distinct_ids() -> None:
    events = list(stream(CONFIG))
    times = [event.event_time_ms for event in events]
    assert times == sorted(times)
    assert CONFIG.start_ms <= times[0] < times[-1] < CONFIG.end_ms
    assert len({event.event_id for event in events}) == len(events)
    assert {type(event) for event in events} == {SocialPost, BehaviorEvent}


def test_there_are_exactly_as_many_posts_as_asked_for_half_of_them_chinese(made: list[SocialPost]) -> None:
    assert len(made) == 3_000
    assert 0.45 < sum(post.language == "zh" for post in made) / len(made) < 0.55


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("mood", ["negative", "neutral", "positive"])
def test_each_mood_has_hundreds_of_sentences(language: str, mood: str) -> None:
    rng = Random(1)
    sentences = {sentence(COMPANIES[0], language, mood, rng) for _ in range(2_000)}
    assert len(sentences) > 800
    assert not any("{" in each or "}" in each for each in sentences)


def test_the_truth_names_spikes_and_one_flood_on_distinct_entities_in_the_second_half() -> None:
    planted = truth(replace(CONFIG, negative_spikes=4))
    assert Counter(each.kind for each in planted) == {"negative_spike": 4, "bot_flood": 1}
    assert len({each.entity for each in planted}) == 5
    half = CONFIG.start_ms + (CONFIG.end_ms - CONFIG.start_ms) // 2
    assert all(half <= each.from_ms < each.to_ms <= CONFIG.end_ms for each in planted)
    assert all(first.to_ms <= second.from_ms for first, second in zip(planted, planted[1:], strict=False))


def test_what_the_truth_names_is_there(made: list[SocialPost]) -> None:
    for planted in truth(CONFIG):
        inside = [p for p in made if planted.entity in p.entities and planted.from_ms <= p.event_time_ms < planted.to_ms]
        usual = len([p for p in made if planted.entity in p.entities]) / CONFIG.hours * (planted.to_ms - planted.from_ms) / 3.6e6
        assert len(inside) > min(SPIKE_LIFT / 2, 3) * usual
        bots = [p for p in inside if p.author_id.startswith("bot-")]
        assert bool(bots) == (planted.kind == "bot_flood")
        for bot in bots:
            assert bot.author_created_ms is not None
            assert bot.event_time_ms - bot.author_created_ms <= 3 * 86_400_000
    assert sum(post.author_id.startswith("bot-") for post in made) >= 40


def test_activity_follows_the_hour() -> None:
    hours = [activity(hour * 3_600_000) for hour in range(24)]
    assert min(hours) == hours[4] == pytest.approx(0.3)
    assert max(hours) == hours[16] == pytest.approx(1.0)


@pytest.mark.slow
def test_a_file_of_posts_reads_back_as_posts_and_equal_files_are_equal_bytes(tmp_path: Path, made: list[SocialPost]) -> None:
    one, two = tmp_path / "one.jsonl.gz", tmp_path / "sub" / "two.jsonl.gz"
    assert write_posts(one, CONFIG) == write_posts(two, CONFIG) == 3_000
    assert one.read_bytes() == two.read_bytes()
    assert [SocialPost.model_validate_json(line) for line in gzip.decompress(one.read_bytes()).splitlines()] == made


def test_a_file_that_was_interrupted_does_not_stand_there_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(config: SyntheticConfig) -> Iterator[SocialPost]:
        yield next(posts(config))
        raise KeyboardInterrupt

    monkeypatch.setattr("producers.synthetic_output.posts", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_posts(tmp_path / "posts.jsonl.gz", CONFIG)
    assert not (tmp_path / "posts.jsonl.gz").exists()


def test_the_truth_is_written_line_by_line(tmp_path: Path) -> None:
    write_truth(tmp_path / "truth.jsonl", CONFIG)
    written = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [(each["entity"], each["kind"]) for each in written] == [(each.entity, each.kind) for each in truth(CONFIG)]


def test_the_world_goes_to_its_topics_keyed_as_the_table_says() -> None:
    broker = MemoryBroker.with_table("p.")
    small = SyntheticConfig(posts=300, users=10)
    sent = send(small, MemorySink(broker), "p.", None, Event())
    posts_sent, events_sent = broker.records("p.posts"), broker.records("p.events")
    assert (len(posts_sent), len(posts_sent) + len(events_sent)) == (300, sent)
    assert all(SocialPost.model_validate_json(r.value).event_id.encode() == r.key for r in posts_sent)
    assert all(BehaviorEvent.model_validate_json(r.value).user_id.encode() == r.key for r in events_sent)


def test_a_stop_ends_the_world() -> None:
    stop = Event()
    stop.set()
    assert send(CONFIG, MemorySink(MemoryBroker.with_table()), "", None, stop) == 0


def test_a_world_that_was_stopped_goes_on_without_a_gap_or_a_repeat() -> None:
    small = SyntheticConfig(seed=5, posts=100, users=5, hours=6)
    broker, stop, durable = MemoryBroker.with_table(), Event(), [0]
    cut = list(stream(small))[40].event_time_ms
    first = send(
        small, MemorySink(broker), "", None, stop, Track(0, durable.append, lambda at: stop.set() if at >= cut else None)
    )
    assert durable[-1] == first < len(list(stream(small)))
    rest = send(small, MemorySink(broker), "", None, Event(), Track(durable[-1]))
    assert first + rest == len(list(stream(small)))
    sent = [record.value for topic in ("posts", "events") for record in broker.records(topic)]
    assert sorted(sent) == sorted(event.to_json() for event in stream(small))


@pytest.mark.parametrize("start_ms", [EARLIEST_MS, LATEST_MS - HOUR_MS])
def test_a_world_may_lie_at_either_end_of_the_times_that_posts_may_have(start_ms: int) -> None:
    assert list(stream(SyntheticConfig(posts=200, users=5, hours=1, start_ms=start_ms)))


@pytest.mark.parametrize("hours", [1.5, 1e12, math.inf, math.nan])
def test_a_world_beyond_them_is_refused(hours: float) -> None:
    with pytest.raises(ConfigurationError, match=r"hours = .* beyond the year 2099; from this start use at most 1$"):
        SyntheticConfig(hours=hours, start_ms=LATEST_MS - HOUR_MS)


def test_a_truth_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_truth(tmp_path, CONFIG)
