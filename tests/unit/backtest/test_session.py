"""From posts to a judged outcome, with the inputs that go wrong in practice."""

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from pipeline.backtest.evaluate import Spans
from pipeline.backtest.session import Bounds, Recording, backtest, check_wishes, choose_spans, load, provenance
from pipeline.core.detector_config import DetectorConfig
from pipeline.errors import ConfigurationError
from pipeline.events import ScoredPost
from tests.unit.core.streams import DAY_MS, HOUR_MS, START_MS, background, in_order, scored_post, shift

CONFIG = replace(DetectorConfig(), false_alerts_per_entity_day=0.02)
SPIKE_MS = START_MS + 15 * DAY_MS
BOUNDS = Bounds(from_ms=START_MS + 12 * DAY_MS)


def recorded() -> list[ScoredPost]:
    return in_order(background("A", 18, 30, 1), background("B", 18, 8, 2), shift("A", SPIKE_MS, 16))


def write_truth(path: Path, entity: str = "A") -> Path:
    incident = {"entity": entity, "kind": "negative_spike", "from_ms": SPIKE_MS, "to_ms": SPIKE_MS + HOUR_MS}
    path.write_text(json.dumps(incident) + "\n")
    return path


def recording(tmp_path: Path, posts: list[ScoredPost]) -> Recording:
    return load(posts, None, write_truth(tmp_path / "truth.jsonl"), BOUNDS)


def test_a_planted_spike_is_found_and_judged(tmp_path: Path) -> None:
    outcome = backtest(recording(tmp_path, recorded()), CONFIG, "UTC", seed=1)
    assert outcome.scores.recall == 1.0
    assert outcome.scores.delay_min["p50"] is not None
    assert outcome.scores.delay_min["p50"] <= 60
    assert outcome.config.prior.version.startswith("fitted-")
    assert outcome.study is None


@pytest.mark.slow
def test_equal_input_gives_equal_output(tmp_path: Path) -> None:
    one, two = (backtest(recording(tmp_path, recorded()), CONFIG, "UTC", seed=1) for _ in range(2))
    assert one.told == two.told
    assert one.scores == two.scores


def test_without_fitting_the_given_prior_counts(tmp_path: Path) -> None:
    assert backtest(recording(tmp_path, recorded()), CONFIG, None, seed=1).config is CONFIG


def test_posts_behind_the_test_span_are_not_looked_at(tmp_path: Path) -> None:
    bounds = replace(BOUNDS, to_ms=START_MS + 14 * DAY_MS)
    found = load(recorded(), None, None, bounds)
    assert found.posts[-1].event_time_ms < START_MS + 14 * DAY_MS
    assert all(record.event_time_ms <= START_MS + 14 * DAY_MS + DAY_MS for record in backtest(found, CONFIG, None, 1).told.alerts)


def test_duplicated_ids_change_nothing(tmp_path: Path) -> None:
    twice = in_order(recorded(), recorded())
    assert recording(tmp_path, twice).posts == recording(tmp_path, recorded()).posts


def test_weeks_without_posts_and_clock_jumps_give_finite_numbers(tmp_path: Path) -> None:
    gap = 40 * DAY_MS
    later = [post.model_copy(update={"event_time_ms": post.event_time_ms + gap}) for post in background("A", 5, 30, 9)]
    moved = [post.model_copy(update={"event_id": f"late-{post.event_id}"}) for post in later]
    posts = in_order(recorded(), moved, [scored_post("jump", START_MS + 200 * DAY_MS)])
    outcome = backtest(load(posts, None, write_truth(tmp_path / "t.jsonl"), BOUNDS), CONFIG, "UTC", seed=1)
    text = json.dumps(outcome.scores.summary(), allow_nan=False)
    assert "NaN" not in text
    assert all(b"NaN" not in alert.to_json() for alert in outcome.told.alerts)
    assert outcome.scores.recall == 1.0


def test_entities_never_seen_in_training_are_judged_apart(tmp_path: Path) -> None:
    posts = in_order(recorded(), background("New", 3, 30, 4, SPIKE_MS))
    scores = backtest(recording(tmp_path, posts), CONFIG, "UTC", seed=1).scores
    assert "new" in {row.tier for row in scores.tiers}
    assert "new" not in scores.summary()["realised_over_target"]


def test_unknown_entities_in_the_truth_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="which no post names"):
        load(recorded(), None, write_truth(tmp_path / "t.jsonl", "Z"), BOUNDS)


def test_posts_that_name_nobody_are_nothing_to_backtest() -> None:
    with pytest.raises(ConfigurationError, match="nothing to backtest"):
        load([scored_post("1", START_MS, entity="")], None, None, Bounds())


def test_spans_by_default_are_the_halves_of_the_recording() -> None:
    assert choose_spans(Bounds(), START_MS, START_MS + 10 * DAY_MS) == Spans(
        test=(START_MS + 5 * DAY_MS, START_MS + 10 * DAY_MS), train=(START_MS, START_MS + 5 * DAY_MS)
    )


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (Bounds(from_ms=START_MS, to_ms=START_MS), "--from/--to"),
        (Bounds(from_ms=START_MS + DAY_MS, to_ms=START_MS), "--from/--to"),
        (Bounds(train_from_ms=START_MS + 6 * DAY_MS), "--train-from/--train-to"),
        (Bounds(from_ms=START_MS + DAY_MS, train_to_ms=START_MS + 2 * DAY_MS), "tuned on what is reported"),
    ],
)
def test_spans_that_cheat_or_hold_nothing_are_refused(bounds: Bounds, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        choose_spans(bounds, START_MS, START_MS + 10 * DAY_MS)


def test_provenance_names_files_by_name_and_hash_without_folders(tmp_path: Path) -> None:
    found = recording(tmp_path, recorded())
    facts = provenance(found, CONFIG, [tmp_path / "truth.jsonl"], 3)
    assert list(facts["files"]) == ["truth.jsonl"]
    assert len(facts["files"]["truth.jsonl"]) == 64
    assert str(tmp_path) not in json.dumps(facts)
    assert facts["models"] == ["m@1"]


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (Bounds(from_ms=START_MS + 30 * DAY_MS, to_ms=START_MS + 40 * DAY_MS), "--from/--to: no post lies in"),
        (replace(BOUNDS, train_from_ms=START_MS - 9 * DAY_MS, train_to_ms=START_MS - DAY_MS), "--train-from/--train-to: no post"),
    ],
)
def test_spans_in_which_nobody_wrote_are_refused(bounds: Bounds, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(recorded(), None, None, bounds)


@pytest.mark.parametrize(
    ("ticker", "first", "message"),
    [
        ("Z", "2023-11-14", "holds no ticker that a post names .it has Z; posts name A, B"),
        ("A", "2019-01-02", "has sessions of 2019-01-02.*none of"),
    ],
)
def test_prices_of_other_tickers_or_years_are_refused(tmp_path: Path, ticker: str, first: str, message: str) -> None:
    days = [date.fromisoformat(first) + timedelta(days=n) for n in range(20)]
    rows = [{"ticker": ticker, "date": day.isoformat(), "close": 10.0} for day in days]
    path = tmp_path / "prices.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigurationError, match=message):
        load(recorded(), path, None, BOUNDS)


def test_what_cannot_work_is_said_before_anything_is_read(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    for out, files, message in (
        (occupied, [], "--out .* cannot be written"),
        (tmp_path, [tmp_path / "none"], "is not a file"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            check_wishes(out, files)
    check_wishes(tmp_path / "new" / "folder", [occupied])


def test_days_on_which_nothing_was_recorded_do_not_count(tmp_path: Path) -> None:
    """They made every rate too low."""
    truth = write_truth(tmp_path / "t.jsonl")
    last_day_ends = (recorded()[-1].event_time_ms // DAY_MS + 1) * DAY_MS
    longer, known = (
        load(recorded(), None, truth, replace(BOUNDS, to_ms=to_ms)) for to_ms in (START_MS + 2_000 * DAY_MS, last_day_ends)
    )
    assert longer.spans == known.spans
    assert known.notes == ()
    assert "the spans end with the days that the posts are of: judged" in longer.notes[0]
    early = load(recorded(), None, truth, replace(BOUNDS, train_from_ms=START_MS - 900 * DAY_MS))
    assert early.spans.train == (START_MS // DAY_MS * DAY_MS, BOUNDS.from_ms)


def test_a_training_span_without_posts_is_refused_where_something_is_learned(tmp_path: Path) -> None:
    bounds = Bounds(from_ms=START_MS // DAY_MS * DAY_MS - DAY_MS)
    with pytest.raises(ConfigurationError, match="training, which ends where --from begins: no post lies in"):
        load(recorded(), None, None, bounds)
    assert load(recorded(), None, None, bounds, learns=False).spans.test[0] == START_MS // DAY_MS * DAY_MS


def test_a_few_posts_are_told_to_be_few() -> None:
    with pytest.raises(ConfigurationError, match="their second half, which is judged, is less than an hour; give more posts"):
        load([scored_post(str(n), START_MS + n) for n in range(3)], None, None, Bounds())


@pytest.mark.parametrize(
    "closes",
    [
        {"A": [10.0 + day % 3 for day in range(60)]},
        {"A": [10.0] * 60, "B": [20.0] * 60},
        {"A": [None] * 60, "B": [20.0 + day % 3 for day in range(60)]},
        {"A": [10.0 + day % 3 for day in range(10)], "B": [20.0 + day % 2 for day in range(10)]},
    ],
)
def test_prices_that_can_judge_nothing_are_refused(tmp_path: Path, closes: dict[str, list[float | None]]) -> None:
    path = tmp_path / "prices.jsonl"
    first = date(2023, 11, 21 if len(closes["A"]) == 10 else 1)
    rows = [
        {"ticker": ticker, "date": (first + timedelta(days=day)).isoformat(), "close": close}
        for ticker, own in closes.items()
        for day, close in enumerate(own)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    only_a = [post for post in recorded() if post.entity == "A"]
    with pytest.raises(ConfigurationError, match="can judge no session of .*; give two tickers or more"):
        load(only_a, path, None, BOUNDS)


def test_days_that_are_no_sessions_are_told(tmp_path: Path) -> None:
    path = tmp_path / "prices.jsonl"
    days = [date(2023, 10, 1) + timedelta(days=n) for n in range(90)]
    rows = [
        {"ticker": ticker, "date": day.isoformat(), "close": 10.0 + (day.day * len(ticker)) % 7}
        for day in days
        for ticker in ("A", "BB", "CCC", "COIN")
        if day.weekday() < 5 or ticker == "COIN"
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (note,) = load(recorded(), path, None, BOUNDS).notes
    assert note == "prices: 24 days, 2023-10-07 the first, are no sessions: fewer than half of the tickers have a price"


def test_what_does_not_count_is_told() -> None:
    posts = in_order(recorded(), [scored_post("x", SPIKE_MS, entity="")], recorded()[:3])
    lines = f"of {len(posts):,}"
    assert load(posts, None, None, BOUNDS).notes == (
        f"posts: 1 line {lines} without an entity, left out",
        f"posts: 3 lines {lines} said before (event_id, entity, time), counted once",
    )


def test_a_second_half_that_one_wrong_clock_has_made_is_told() -> None:
    posts = [*recorded(), scored_post("x", START_MS + 20_000 * DAY_MS)]
    (note,) = load(posts, None, None, Bounds()).notes
    assert note.endswith(f"and holds 1 of {len(posts):,} posts; choose with --from and --to")
    assert load(posts, None, None, replace(BOUNDS, to_ms=START_MS + 18 * DAY_MS)).notes == ()


def test_a_truth_of_other_times_is_told(tmp_path: Path) -> None:
    bounds = replace(BOUNDS, from_ms=SPIKE_MS + HOUR_MS)
    (note,) = load(recorded(), None, write_truth(tmp_path / "t.jsonl"), bounds).notes
    assert note.startswith("truth: none of its 1 incident begins in 2023-11-29")
