"""Thousands of good and bad records: every one comes out exactly once, scored or as a dead letter."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.workers.playground import NOW, Playground, click, post, rules

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
times = st.sampled_from([NOW // 1000, NOW * 1000, NOW + 10**8, 0, -1, 10**30, 1.5, str(NOW), None, True])
texts = st.sampled_from(
    [
        "",
        "   ",
        "\u200b",
        "\ufeff\u200d\u2060",
        "\x00\x01\x02",
        "🚀" * 50,
        "e\u0301" * 40,
        "x" * 200_001,
        "\u574f" * 333_333,
        "\ud800",
        "\u202eevil",
        "NaN",
    ]
) | st.text(max_size=60)


@st.composite
def damaged(draw: st.DrawFn, good: dict[str, Any]) -> bytes:
    """A good record with one field gone, too much, of another type, or replaced by something unusual."""
    record = dict(good)
    name = draw(st.sampled_from(sorted(record)))
    kind = draw(st.sampled_from(["gone", "value", "nan", "time", "text", "cut", "twice", "unknown", "again"]))
    if kind == "gone":
        del record[name]
    elif kind == "value":
        record[name] = draw(json_values)
    elif kind == "nan":
        record[name] = draw(st.sampled_from([float("nan"), float("inf"), -float("inf")]))
    elif kind == "unknown":
        record[draw(st.text(max_size=8))] = draw(json_values)
    elif kind == "time":
        record["event_time_ms"] = draw(times)
    elif kind == "text":
        record["text" if "text" in record else "item_text"] = draw(texts)
    raw = json.dumps(record).encode("utf-8", "surrogatepass")
    if kind == "cut":
        return raw[: draw(st.integers(0, len(raw) - 1))]
    return raw + raw if kind == "twice" else raw


def anything(good: dict[str, Any]) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=80) | damaged(good) | json_values.map(lambda value: json.dumps(value).encode())


@dataclass
class Thrown:
    """What a run of the property threw at workers, over all examples."""

    hostile: int = 0
    dead: int = 0


def check(posts: list[bytes], clicks: list[bytes], poll: int) -> Thrown:
    """Throw as many good records between the others; every one must come out once, and all good ones scored."""
    ground = Playground(rules=rules(max_poll_records=poll))
    pairs = min(len(posts), len(clicks))
    for number, (bad_post, bad_click) in enumerate(zip(posts, clicks, strict=False)):
        ground.give_posts(bad_post, post(1_000 + number, author_id=f"good{number}"))
        ground.give_clicks(bad_click, click(1_000 + number, user_id=f"good{number}"))
    worker = ground.run()
    scored, dead = ground.progress()
    assert (worker.totals.accepted, worker.totals.in_flight) == (4 * pairs, 0)
    assert scored + dead == 4 * pairs == ground.committed()
    assert (worker.totals.scored, worker.totals.dead_letters) == (scored, dead)
    assert {s.event_id for s in ground.scored()} >= {f"p{1_000 + n}" for n in range(pairs)}
    assert set(ground.profiles()) >= {f"good{n}" for n in range(pairs)}
    letters = ground.letters()
    assert len({(letter.topic, letter.partition, letter.offset) for letter in letters}) == len(letters) == dead
    assert all(letter.field and letter.fix for letter in letters)
    return Thrown(2 * pairs, dead)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_whatever_comes_in_every_record_comes_out_once() -> None:
    """Counted: more than 2,000 records that cannot be used, among as many good ones."""
    total = Thrown()

    @settings(max_examples=70, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(
        st.lists(anything(post(0)), min_size=20, max_size=40),
        st.lists(anything(click(0)), min_size=20, max_size=40),
        st.integers(1, 60),
    )
    def throw(posts: list[bytes], clicks: list[bytes], poll: int) -> None:
        thrown = check(posts, clicks, poll)
        total.hostile += thrown.hostile
        total.dead += thrown.dead

    throw()
    assert total.hostile >= 2_800
    assert total.dead >= 2_000
