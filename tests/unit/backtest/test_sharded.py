"""The number of processes changes no byte."""

from collections.abc import Iterator

import pytest

from pipeline.backtest import sharded
from pipeline.backtest.sharded import Prepare, ShardedPosts, prepare_here, preparing, shares
from pipeline.core.detector_config import DetectorConfig
from tests.unit.core.streams import HOUR_MS, background, eventful

LOOSE = DetectorConfig(false_alerts_per_entity_day=0.5)


@pytest.fixture(scope="module")
def in_two() -> Iterator[Prepare]:
    with preparing(2) as prepared:
        yield prepared


@pytest.mark.slow
def test_two_processes_say_what_one_says(in_two: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "LEAST_POSTS", 1)
    posts = eventful()
    alone, spread = prepare_here(posts), in_two(posts)
    assert isinstance(spread, ShardedPosts)
    span = posts[0].event_time_ms, posts[-1].event_time_ms - HOUR_MS
    assert spread.tell(LOOSE) == alone.tell(LOOSE)
    assert len(alone.tell(LOOSE).alerts) > 2
    assert spread.judge(LOOSE, span[1]) == alone.judge(LOOSE, span[1])
    assert list(spread.judge(LOOSE).scores) == list(alone.judge(LOOSE).scores)
    assert list(spread.volumes(span, LOOSE).items()) == list(alone.volumes(span, LOOSE).items())


@pytest.mark.slow
def test_a_next_recording_takes_the_place_of_the_last(in_two: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "LEAST_POSTS", 1)
    in_two(eventful())
    posts = background("A", 3, 40, 1)
    assert in_two(posts).tell(LOOSE) == prepare_here(posts).tell(LOOSE)


def test_few_posts_are_not_worth_handing_over(in_two: Prepare) -> None:
    assert not isinstance(in_two(background("A", 3, 40, 1)), ShardedPosts)


def test_shares_are_of_about_equally_many_posts() -> None:
    mentions = {str(size): [None] * size for size in (1, 2, 3, 4, 10)}
    assert [list(part) for part in shares(mentions, 2)] == [["10"], ["4", "3", "2", "1"]]  # type: ignore[arg-type]
