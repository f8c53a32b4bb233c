"""Posts summed up once give the answers of the live operator, run after run, whatever the settings."""

from dataclasses import replace

import pytest

from pipeline.backtest.run import run
from pipeline.backtest.sharded import prepare_here
from pipeline.core.detector_config import DetectorConfig, Flood
from pipeline.core.panes import pane_start
from pipeline.core.prior import Prior
from pipeline.core.seasonality import SeasonalProfile
from tests.unit.core.streams import HOUR_MS, eventful, in_order, scored_post

LOOSE = DetectorConfig(false_alerts_per_entity_day=0.5)
SEASON = SeasonalProfile("America/New_York", tuple(0.5 + slot * 37 % 100 / 100 for slot in range(336)))
SETTINGS = {
    "strict": DetectorConfig(),
    "loose": LOOSE,
    "season": replace(LOOSE, prior=Prior(season=SEASON)),
    "short memory of contents": replace(LOOSE, cluster_memory_ms=3_600_000, cluster_capacity=30),
    "other panes": replace(LOOSE, posts_per_author=1, flood=Flood(posts=10)),
    "lists at one name": replace(LOOSE, most_names=0),
}


@pytest.mark.slow
def test_every_setting_gives_the_alerts_and_scores_of_a_replay() -> None:
    """One after the other on the same panes: what one run wrote, the next may not read."""
    posts = [post.model_copy(update={"text": f"$A {i}"}) if i % 3 == 0 else post for i, post in enumerate(eventful())]
    prepared, spoke = prepare_here(posts), 0
    for name, config in SETTINGS.items():
        found, live = prepared.judge(config), run(posts, config)
        assert found.alerts == live.alerts, name
        scores = {(entity, start_ms): score for entity, own in found.scores.items() for start_ms, score in own}
        assert scores == {(trend.entity, trend.window_start_ms): trend.score for trend in live.trends}, name
        spoke += len(found.alerts)
    assert spoke > 10


def test_a_post_told_twice_counts_once_and_one_about_nobody_never() -> None:
    posts = [*eventful(3), scored_post("nobody", eventful(3)[-1].event_time_ms, 0.9, entity="")]
    assert prepare_here([post for post in posts for _ in range(2)]).judge(LOOSE) == prepare_here(posts[:-1]).judge(LOOSE)


def test_a_long_post_is_a_list_by_what_is_kept_of_it() -> None:
    last_ms = eventful(3)[-1].event_time_ms
    long = [scored_post(f"long{i}", last_ms, 0.9, text="a word " * 45 + "$A $B $C $D") for i in range(6)]
    posts = in_order(eventful(3), long)
    assert prepare_here(posts).judge(LOOSE).alerts == tuple(run(posts, LOOSE).alerts)


def test_all_that_is_told_is_what_a_replay_tells() -> None:
    posts = eventful()
    told, live = prepare_here(posts).tell(LOOSE), run(posts, LOOSE)
    assert told.alerts == live.alerts
    assert [line for _, _, line in told.trends] == [trend.to_json() for trend in live.trends]
    first, last = posts[0].event_time_ms, posts[-1].event_time_ms
    assert told.within((first, last - HOUR_MS)) == [t for t in live.trends if first <= t.window_start_ms < last - HOUR_MS]


@pytest.mark.parametrize("off_ms", [0, 1, -1])
@pytest.mark.parametrize("until", [0, 100])
def test_posts_from_a_time_on_change_nothing_before_it(until: int, off_ms: int) -> None:
    posts = eventful(3)
    until_ms = pane_start(posts[until].event_time_ms) + off_ms
    early = [post for post in posts if post.event_time_ms < until_ms]
    assert prepare_here(posts).judge(LOOSE, until_ms) == prepare_here(early).judge(LOOSE)
