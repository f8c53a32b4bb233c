"""The market benchmark on a made background: drops are repeatable, spaced, and found where they are broad."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import market
from benchmarks.injection import HIT_MS, Background, background
from pipeline.backtest.exchange import NEW_YORK
from pipeline.backtest.session import Bounds, load
from pipeline.errors import ConfigurationError
from tests.unit.core.streams import DAY_MS, in_order
from tests.unit.core.streams import background as made

POSTS = in_order(*(made(f"E{place}", 24, 1, place) for place in range(24)))


def make_background() -> Background:
    return background(load(POSTS, None, None, Bounds()), 0.05, NEW_YORK)


@pytest.mark.slow
def test_moments_are_in_market_hours_of_the_second_half_and_a_day_after_a_markets_alert() -> None:
    found = make_background()
    spoke_ms = found.recording.spans.test[0] + 5 * DAY_MS
    moments = market.choose_moments(found, [spoke_ms], 30, np.random.default_rng(1))
    assert len(moments) == 30
    assert moments == sorted(moments)
    assert all(NEW_YORK.is_open(at_ms) and at_ms >= found.recording.spans.test[0] for at_ms in moments)
    assert not any(-HIT_MS < at_ms - spoke_ms < DAY_MS for at_ms in moments)


def test_posts_of_a_drop_differ_in_text_and_author_and_are_repeatable() -> None:
    drop = market.Drop(POSTS[0].event_time_ms, ("E1", "E2", "E3"), 2)
    posts = market.posts_of(drop, POSTS[:5], seed=1)
    assert len({post.simhash for post in posts}) == len({post.author_id for post in posts}) == 6
    assert sorted(post.entity for post in posts) == ["E1", "E1", "E2", "E2", "E3", "E3"]
    assert posts == market.posts_of(drop, POSTS[:5], seed=1)


@pytest.mark.slow
def test_a_broad_drop_is_found_a_narrow_one_is_not_and_none_changes_another() -> None:
    found = make_background()
    moments = market.choose_moments(found, [], 3, np.random.default_rng(1))
    drops = market.choose_drops(found, moments, [(2, 4), (20, 4)], seed=1)
    together = dict(market.outcomes(found, drops, seed=1))
    broad = [outcome for drop, outcome in together.items() if len(drop.members) == 20]
    narrow = [outcome for drop, outcome in together.items() if len(drop.members) == 2]
    assert all(outcome.delay_ms is not None and outcome.delay_ms <= market.FOUND_MS for outcome in broad)
    assert all(outcome.explained <= outcome.spikes <= 20 for outcome in broad)
    assert all(outcome.delay_ms is None for outcome in narrow)
    last = drops[-1][1]
    assert dict(market.outcomes(found, [[last]], seed=1))[last] == together[last]


@pytest.mark.slow
def test_drops_are_about_entities_that_people_speak_of() -> None:
    listing = [post.model_copy(update={"entity": "LISTED", "text": "$A $B $C $D up"}) for post in POSTS[::24]]
    one_voice = [post.model_copy(update={"entity": "PUSHED", "author_id": "one"}) for post in POSTS[::24]]
    found = background(load(in_order(POSTS, listing, one_voice), None, None, Bounds()), 0.05, NEW_YORK)
    ((drop,),) = market.choose_drops(found, [found.recording.spans.test[0]], [(24, 1)], seed=1)
    assert set(drop.members) == {f"E{place}" for place in range(24)}
    with pytest.raises(ConfigurationError, match="5 people speak of fewer than 25 entities at every moment"):
        market.choose_drops(found, [found.recording.spans.test[0]], [(25, 1)], seed=1)


@pytest.mark.slow
def test_the_command_tells_a_row_a_size_and_wrong_sizes_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"".join(post.to_json() + b"\n" for post in POSTS))
    market.main(["--posts", str(path), "--drops", "1", "--sizes", "20x4", "--rate", "0.05", "--timezone", "UTC", "--json"])
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["members"], row["each"], row["drops"]) == (20, 4, 1)
    with pytest.raises(argparse.ArgumentTypeError, match="'8' is no size; write MEMBERSxPOSTS"):
        market._size("8")
