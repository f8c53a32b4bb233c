"""The injection benchmark on a made background: plants are repeatable, spaced, and found where they are large."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import injection
from pipeline.backtest.exchange import NEW_YORK, Exchange, read_exchange
from pipeline.backtest.session import Bounds, load
from pipeline.errors import ConfigurationError
from tests.unit.core.streams import DAY_MS, HOUR_MS, START_MS, background, in_order, shift

POSTS = in_order(*(background(f"E{i}", 30, 4 + 6 * i, i) for i in range(4)))


SHANGHAI = read_exchange("Asia/Shanghai", "09:30-15:00")


def make_background(rate: float = 0.05, exchange: Exchange = NEW_YORK) -> injection.Background:
    return injection.background(load(POSTS, None, None, Bounds()), rate, exchange)


def test_planted_posts_are_k_different_contents_within_the_hour_and_repeatable() -> None:
    plant = injection.Plant("E0", START_MS, 6, "light", "other")
    posts = injection.planted_posts(plant, POSTS[:5], seed=1)
    assert len({post.simhash for post in posts}) == len({post.author_id for post in posts}) == 6
    assert all(START_MS <= post.event_time_ms < START_MS + HOUR_MS and post.entity == "E0" for post in posts)
    assert posts == injection.planted_posts(plant, POSTS[:5], seed=1)
    assert posts != injection.planted_posts(plant, POSTS[:5], seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("exchange", [NEW_YORK, SHANGHAI])
def test_times_are_in_the_second_half_at_the_right_hours_and_away_from_alerts(exchange: Exchange) -> None:
    found = make_background(exchange=exchange)
    spoken = found.recording.spans.test[0] + 5 * DAY_MS
    found.spoken_ms["E0"] = [spoken]
    plants = injection.choose_plants(found, (4, 8), 20, seed=3)
    assert {plant.k for plant in plants} == {4, 8}
    assert all(exchange.is_open(p.at_ms) == (p.hours == injection.MARKET) for p in plants if p.hours != injection.ANY)
    assert all(p.at_ms >= found.recording.spans.test[0] for p in plants)
    near = [p for p in plants if p.entity == "E0" and -injection.HIT_MS < p.at_ms - spoken < DAY_MS]
    assert near == []


@pytest.mark.slow
def test_many_negatives_are_found_fast_and_none_are_not() -> None:
    found = make_background()
    rng = np.random.default_rng(1)
    times = injection._times(found, ["E0", "E3"], injection.ANY, 6, rng)
    large = [injection.Plant(entity, at_ms, 20, "any", "any") for entity, at_ms in times]
    delays = injection.delays(found, large, seed=1)
    assert set(delays) == set(large)
    assert all(delay is not None and delay <= HOUR_MS for delay in delays.values())
    nothing = [injection.Plant(entity, at_ms, 0, "any", "any") for entity, at_ms in times]
    assert all(delay is None for delay in injection.delays(found, nothing, seed=1).values())


@pytest.mark.slow
def test_a_plant_does_not_change_what_follows_it() -> None:
    found = make_background()
    times = injection._times(found, ["E3"], injection.ANY, 4, np.random.default_rng(1))
    plants = [injection.Plant(entity, at_ms, k, "any", "any") for entity, at_ms in sorted(set(times)) for k in (3, 30)]
    together = injection.delays(found, plants, seed=1)
    assert all(injection.delays(found, [plant], seed=1)[plant] == together[plant] for plant in plants)


def test_the_table_has_a_row_per_cell_with_hand_counted_recall() -> None:
    plants = [injection.Plant("E0", START_MS + i, 4, "light", "market") for i in range(4)]
    outcome: dict[injection.Plant, int | None] = dict(zip(plants, [60_000, 180_000, None, 120_000], strict=True))
    (row,) = injection.table(make_background(), outcome)
    assert (row["plants"], row["recall"], row["delay_p50_min"]) == (4, 0.75, 2.0)


def test_a_background_without_negatives_is_refused() -> None:
    calm = [post for post in POSTS if post.sentiment.negative < 0.5]
    found = injection.background(load(calm, None, None, Bounds()), 0.05, NEW_YORK)
    plants = injection.choose_plants(found, (4,), 1, seed=1)
    with pytest.raises(ConfigurationError, match="is negative"):
        injection.delays(found, plants, seed=1)


def test_a_recording_too_short_for_a_plant_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not longer than three hours"):
        injection.halves([post for post in POSTS if post.event_time_ms < START_MS + 5 * HOUR_MS])


@pytest.mark.parametrize("option", [["--rates", "0"], ["--rates", "nan"], ["--sizes", "-1"], ["--plants", "0"], ["--seed", "-1"]])
def test_options_that_no_plant_can_have_are_refused_by_name(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        injection.main(["--posts", "unread", *option])
    assert f"argument {option[0]}: '{option[1]}'" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    for picture in (tmp_path / "absent" / "curves.png", tmp_path):
        with pytest.raises(ConfigurationError, match=f"--picture {picture} cannot be written"):
            injection.main(["--posts", "unread", "--picture", str(picture)])


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_command_prints_the_promised_fields_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, picture = tmp_path / "posts.jsonl", tmp_path / "curves.png"
    spiked = in_order(POSTS, shift("E1", START_MS + 8 * DAY_MS, 12))
    path.write_bytes(b"".join(post.to_json() + b"\n" for post in spiked))
    options = ["--sizes", "4", "8", "--rates", "0.05", "--plants", "2", "--picture", str(picture), "--json"]
    injection.main(["--posts", str(path), *options])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"k", "tier", "hours", "recall", "delay_p50_min", "false_alerts_per_entity_day"} <= set(result["rows"][0])
    assert {(row["tier"], row["hours"]) for row in result["rows"]} >= {("any", "any"), ("medium", "market"), ("light", "other")}
    assert picture.read_bytes().startswith(b"\x89PNG")
