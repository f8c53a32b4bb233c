"""What the worker makes of records: each becomes exactly one outcome."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.core.entities import Entity
from pipeline.core.rolling import direction
from pipeline.core.text import normalise, readable, simhash
from pipeline.errors import ConfigurationError, Reason
from tests.unit.workers.playground import NOW, Playground, click, post, rules
from workers.entity_linking import EntityLinker
from workers.fake_encoder import FakeEncoder


@pytest.fixture
def ground() -> Playground:
    return Playground()


def test_posts_are_scored_once_for_each_entity_they_name(ground: Playground) -> None:
    ground.give_posts(
        post(1, text="$AAPL and $TSLA crash", entities=["AAPL", "MSFT"]), post(2, text="a great day"), post(3, text="暴跌 $BABA")
    )
    ground.run()
    by_id = {event_id: [s for s in ground.scored() if s.event_id == event_id] for event_id in ("p1", "p2", "p3")}
    assert [s.entity for s in by_id["p1"]] == ["AAPL", "MSFT", "TSLA"]
    assert [s.entity for s in by_id["p2"]] == [""]
    assert by_id["p1"][0].sentiment.negative > 0.5
    assert by_id["p2"][0].sentiment.positive > 0.5
    assert by_id["p3"][0].sentiment.negative > 0.5
    assert by_id["p1"][0].model_revision == FakeEncoder.revision
    record = next(r for r in ground.broker.records("groundswell.scored") if b'"p2"' in r.value)
    assert (record.key, record.timestamp_ms) == (b"", NOW - 100_000 + 2)


def test_probabilities_have_four_decimals(ground: Playground) -> None:
    ground.give_posts(post(1))
    ground.run()
    scored = json.loads(ground.broker.records("groundswell.scored")[0].value)
    numbers = [*scored["sentiment"].values(), *scored["intents"].values()]
    assert all(round(number, 4) == number for number in numbers)


def test_clicks_move_the_users_profile_by_action_weight(ground: Playground) -> None:
    ground.give_clicks(
        click(1, user_id="u", item_text="red tea"), click(2, user_id="u", action="purchase", item_text="green wood"), click(3)
    )
    ground.run()
    profile = ground.store.get("u")
    assert profile is not None
    assert (profile.events, [r.action for r in profile.recents]) == (2, ["view", "purchase"])
    encoder = FakeEncoder()
    vectors = encoder.encode(encoder.tokenize(["red tea", "green wood"])).vectors.astype(np.float64)
    expected = vectors[0] + 5.0 * vectors[1]
    got = direction(profile.families[0], 384)
    assert float(got @ expected / np.linalg.norm(expected)) > 0.999_999


def test_posts_move_their_authors_profile(ground: Playground) -> None:
    ground.give_posts(post(1, author_id="writer"), post(2, author_id="writer"))
    ground.run()
    profile = ground.store.get("writer")
    assert profile is not None
    assert [(r.action, r.item_id) for r in profile.recents] == [("post", "p1"), ("post", "p2")]


def test_an_event_without_text_counts_without_a_vector(ground: Playground) -> None:
    ground.give_clicks(click(1, user_id="u", item_text=None), click(2, user_id="u", item_text="\u200b"))
    ground.run()
    profile = ground.store.get("u")
    assert profile is not None
    assert profile.events == 2
    assert not profile.families[0].buckets


def test_bad_records_become_dead_letters_and_nothing_else_is_lost(ground: Playground) -> None:
    ground.give_posts(post(1), b"nonsense", post(2, text="\u200b\u200d"), post(3, event_time_ms=NOW // 1000), post(4))
    ground.give_clicks(b"\xff", click(5))
    worker = ground.run()
    assert sorted({s.event_id for s in ground.scored()}) == ["p1", "p4"]
    assert sorted(letter.reason for letter in ground.letters()) == [
        Reason.EMPTY_TEXT,
        Reason.INVALID_JSON,
        Reason.INVALID_JSON,
        Reason.TIME_OUT_OF_RANGE,
    ]
    assert worker.totals == (7, 3, 4)
    assert worker.totals.in_flight == 0
    assert ground.progress() == (3, 4)
    assert ground.metric("dead_letters_total", topic="posts", reason="invalid_json") == 1


@pytest.mark.parametrize(("size", "whole"), [(990_000, True), (4_000_000, False)])
def test_a_dead_letter_keeps_all_bytes_that_the_broker_takes(ground: Playground, size: int, whole: bool) -> None:
    ground.give_posts(b"x" * size)
    ground.run()
    (letter,) = ground.letters()
    assert set(letter.payload) == set(b"x")
    assert (len(letter.payload) == size) is whole
    assert (f"of {size} bytes is kept here" in letter.fix) is not whole


def test_a_scored_post_carries_what_the_model_reads_of_a_text(ground: Playground) -> None:
    """Else a post of 200 kB that names a hundred writes 20 MB, and one of control characters is too large to be written."""
    ground.give_posts(
        post(1, text="crash " + "\u0001" * 199_990), post(2, text="x" * 4_096), post(3, text="$A $B " + "y" * 9_000)
    )
    ground.run()
    assert not ground.letters()
    assert {(s.event_id, s.entity): len(s.text) for s in ground.scored()} == {
        ("p1", ""): 4_096,
        ("p2", ""): 4_096,
        ("p3", "A"): 4_096,
        ("p3", "B"): 4_096,
    }


def test_a_post_that_names_too_many_is_a_dead_letter_and_names_that_are_blank_name_nobody(ground: Playground) -> None:
    many = [f"E{n}" for n in range(101)]
    ground.give_posts(post(1, entities=many), post(2, entities=many[:100]), post(3, text="a great day", entities=["$", " "]))
    ground.run()
    (letter,) = ground.letters()
    assert (letter.reason, letter.field, letter.value) == (Reason.TOO_LARGE, "entities", "101 entities")
    assert len([s for s in ground.scored() if s.event_id == "p2"]) == 100
    assert [s.entity for s in ground.scored() if s.event_id == "p3"] == [""]


def test_a_text_seen_before_is_not_encoded_again(ground: Playground) -> None:
    ground.give_posts(*(post(n, text="the same words") for n in range(20)))
    ground.run()
    assert ground.metric("texts_encoded_total") == 1
    assert ground.metric("texts_total") == 20
    assert ground.metric("cache_hits_total") == 19


def test_a_text_in_capitals_is_encoded_as_a_sentence_and_names_whom_its_capitals_tell(ground: Playground) -> None:
    ground.linker = EntityLinker([Entity("IBM", "International Business Machines", exact=("IBM",))])
    loud, calm = "IBM SHARES CRASH AFTER EARNINGS", "Ibm shares crash after earnings"
    ground.give_posts(post(1, text=loud), post(2, text=calm))
    ground.run()
    assert ground.metric("texts_encoded_total") == 1
    shouted, said = sorted(ground.scored(), key=lambda scored: scored.event_id)
    assert (shouted.entity, shouted.text) == ("IBM", loud)
    assert (said.entity, said.text) == ("", calm)
    assert (shouted.sentiment, shouted.simhash) == (said.sentiment, said.simhash)


def test_a_fingerprint_is_of_the_posts_own_text_whoever_shares_its_answer(ground: Playground) -> None:
    loud = "SELL THIS STOCK RIGHT H\u0331ERE"  # its small letter and the mark are one character, which makes another word
    ground.give_posts(post(1, text=loud), post(2, text=readable(loud)))
    ground.run()
    assert ground.metric("texts_encoded_total") == 1
    found = {scored.event_id: scored.simhash for scored in ground.scored()}
    assert found == {"p1": simhash(normalise(loud)), "p2": simhash(readable(loud))}
    assert found["p1"] != found["p2"]


def test_metrics_tell_lag_batches_and_stages(ground: Playground) -> None:
    ground.give_posts(*(post(n) for n in range(10)))
    ground.run()
    assert ground.metric("accepted_total", topic="posts") == 10
    assert ground.metric("scored_total", topic="posts") == 10
    assert ground.metric("in_flight_records") == 0
    assert ground.metric("tokens_total") > 0
    for stage in ("poll", "prepare", "encode", "apply", "produce", "advance", "commit"):
        assert ground.metric("stage_seconds_count", stage=stage) >= 1


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"view": 1.0}, "__WEIGHTS: click = None"), ({"post": -1.0}, "GROUNDSWELL_PROFILES__WEIGHTS: post = -1")],
)
def test_wrong_weights_are_named(weights: dict[str, float], message: str) -> None:
    base = {} if "view" in weights else dict(rules().weights)
    with pytest.raises(ConfigurationError, match=message):
        replace(rules(), weights=base | weights).check()
