from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.memory import MemoryBroker, MemorySink
from pipeline.adapters.stores import MemoryProfileStore, ProfileSpec, Update
from pipeline.core.rolling import ProfileEvent
from pipeline.errors import ConfigurationError, InvalidRecord, Reason, Unavailable
from pipeline.events import SocialPost
from pipeline.times import DAY_MS, HOUR_MS
from producers import publish
from producers.mapping import FieldMapping, compile_mapping
from producers.publish import Callbacks, Options, Publisher
from producers.rows import Line

T0 = 1_700_000_000_000
NOW = T0 + 400 * DAY_MS
MAPPING = compile_mapping(
    {"contract": "post", "source": "s", "fields": {"event_time_ms": "t", "author_id": {"const": "a"}, "text": "text"}}, "m"
)


class Clock(Event):
    """An event whose wait passes time at once, and the clock that shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now_s += timeout
        return self.is_set()


@dataclass
class Run:
    clock: Clock = field(default_factory=Clock)
    broker: MemoryBroker = field(default_factory=lambda: MemoryBroker({"posts": 1}))
    rejects: list[tuple[int, InvalidRecord]] = field(default_factory=list)
    durable: list[tuple[int, int]] = field(default_factory=list)  # line, records in the topic by then

    def publisher(self, mapping: FieldMapping = MAPPING, **options: Any) -> Publisher:
        def durable(line: int) -> None:
            self.durable.append((line, len(self.broker.records("posts"))))

        def reject(line: Line, error: InvalidRecord) -> None:
            self.rejects.append((line.number, error))

        callbacks = Callbacks(reject, durable, lambda _: None, lambda: self.clock.now_s, lambda: NOW)
        return Publisher(mapping, MemorySink(self.broker), Options("posts", **options), callbacks, self.clock)


def lines(*offsets_ms: int | None) -> Iterator[Line]:
    for number, offset in enumerate(offsets_ms, 1):
        row = {"t": None if offset is None else T0 + offset, "text": f"text {number}"}
        yield Line(number, row, number * 10)


def test_rows_become_records_keyed_and_timed_by_the_event() -> None:
    run = Run()
    assert run.publisher().run(lines(0, 5))
    first, second = run.broker.records("posts")
    post = SocialPost.model_validate_json(first.value)
    assert (post.text, first.key, first.timestamp_ms) == ("text 1", post.event_id.encode(), T0)
    assert second.timestamp_ms == T0 + 5
    assert run.durable == [(2, 2)]


def test_a_row_that_does_not_fit_is_refused_alone() -> None:
    run = Run()
    publisher = run.publisher()
    broken = Line(3, InvalidRecord(Reason.INVALID_JSON, "record", "{", "write JSON"), 30)
    seconds = Line(4, {"t": T0 // 1000, "text": "x"}, 40)
    assert publisher.run([*lines(0, None), broken, seconds, Line(5, {"t": T0, "text": " "}, 50)])
    assert (publisher.sent, publisher.rejected) == (1, 4)
    assert [(number, error.reason, error.field) for number, error in run.rejects] == [
        (2, Reason.MISSING_FIELD, "event_time_ms"),
        (3, Reason.INVALID_JSON, "record"),
        (4, Reason.TIME_OUT_OF_RANGE, "event_time_ms"),
        (5, Reason.EMPTY_TEXT, "text"),
    ]
    assert all(error.fix for _, error in run.rejects)
    assert "(from column 't', read as ms)" in run.rejects[2][1].fix


def test_a_column_of_the_mapping_that_no_row_has_is_known_by_name() -> None:
    """A field that need not be there is left out of every record where its column's name is misspelt."""
    fields = {"event_time_ms": "t", "author_id": {"const": "a"}, "text": "text", "url": {"template": "at {tect}/{t}"}}
    lists = {"entities": {"list": "tikcer"}, "repost_of": {"const": "?", "when": "rt"}, "source": "t"}
    publisher = Run().publisher(mapping=compile_mapping({"contract": "post", "fields": fields | lists}, "m"))
    broken = Line(3, InvalidRecord(Reason.INVALID_JSON, "record", "{", "write JSON"), 30)
    assert publisher.run([*lines(0, 1), broken, Line(4, {"t": T0 + 2, "rt": None}, 40)])
    assert publisher.unseen == {"tect", "tikcer"}


def test_a_time_that_cannot_be_read_is_to_be_mended_in_the_mappings_unit() -> None:
    run = Run()
    run.publisher().run([Line(1, {"t": "yesterday", "text": "x"}, 10)])
    ((_, error),) = run.rejects
    assert (error.field, error.value) == ("event_time_ms", "yesterday")
    assert error.fix == "it cannot be read so; correct the row, or the mapping's unit (from column 't', read as ms)"


def test_speed_paces_by_event_time() -> None:
    run = Run()
    run.publisher(speed=60.0).run(lines(0, 60_000, 60_000, 180_000))
    assert run.clock.waits == [pytest.approx(1.0), pytest.approx(2.0)]


def test_before_a_long_wait_everything_is_durable() -> None:
    run = Run()
    run.publisher(speed=1.0).run(lines(0, 10_000))
    assert run.durable == [(1, 1), (2, 2)]


def test_a_stop_while_waiting_sends_no_more() -> None:
    run = Run()
    publisher = run.publisher(speed=1.0)

    def until_second() -> Iterator[Line]:
        first, second = lines(0, 10_000)
        yield first
        run.clock.set()
        yield second

    assert not publisher.run(until_second())
    assert (publisher.sent, run.durable) == (1, [(1, 1)])


@pytest.mark.parametrize("speed", [None, 60.0])
def test_a_row_of_the_future_is_refused_alone_at_once(speed: float | None) -> None:
    run = Run()
    publisher = run.publisher(speed=speed)
    assert publisher.run(lines(0, NOW - T0 + 20_000 * DAY_MS, 60_000))
    assert (publisher.sent, publisher.unordered) == (2, 0)
    ((number, refused),) = run.rejects
    assert (number, refused.reason, refused.field) == (2, Reason.TIME_OUT_OF_RANGE, "event_time_ms")
    assert run.clock.waits == ([] if speed is None else [pytest.approx(1.0)])


def test_a_row_that_is_no_future_any_more_when_it_is_due_is_sent() -> None:
    run = Run()
    assert run.publisher(speed=1.0).run(lines(NOW - T0, NOW - T0 + 5 * HOUR_MS))
    assert (run.rejects, len(run.broker.records("posts"))) == ([], 2)


def test_order_is_checked_and_the_error_says_how_to_sort() -> None:
    run = Run()
    with pytest.raises(ConfigurationError, match=r"line 3 happened 2000 ms before line 2 \(2 records were sent\); sort like so"):
        run.publisher(sort_hint="sort like so", tolerance_ms=1_999).run(lines(0, 5_000, 3_000))
    assert run.durable == [(2, 2)]


def test_rows_within_the_tolerance_pass_and_allowed_disorder_is_counted() -> None:
    within, allowed = Run().publisher(tolerance_ms=2_000), Run().publisher(allow_unordered=True)
    assert within.run(lines(0, 5_000, 3_000))
    assert allowed.run(lines(9, 5, 7))
    assert (within.unordered, allowed.unordered, allowed.sent) == (0, 2, 3)


def test_a_limit_is_a_number_of_rows() -> None:
    run = Run()
    publisher = run.publisher(limit=3)
    assert not publisher.run(lines(0, None, 2, 3, 4))
    assert (publisher.sent, publisher.rejected, run.durable) == (2, 1, [(3, 2)])


def test_the_place_moves_only_behind_durable_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "FLUSH_RECORDS", 2)
    run = Run()
    run.publisher().run(lines(0, 1, None, 3, 4))
    assert run.durable == [(2, 2), (4, 3), (5, 4)]


def test_what_a_killed_run_sends_again_counts_once_even_for_a_single_user() -> None:
    run = Run()
    many = list(lines(*range(publish.FLUSH_RECORDS + 10)))
    killed = run.publisher()
    killed.callbacks = replace(killed.callbacks, on_durable=Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # the records are in the topic, the place is not yet on the disk
        killed.run(many)
    assert run.publisher().run(many)
    store = MemoryProfileStore()
    spec = ProfileSpec("m", 1, (1,))
    for record in run.broker.records("posts"):
        post = SocialPost.model_validate_json(record.value)
        event = ProfileEvent(post.event_id, post.event_time_ms, "post", 1.0, None)
        store.apply([Update(post.author_id, record.topic_partition, record.offset, event)], spec)
    profile = store.get("a")
    assert profile is not None
    assert profile.events == len(many)


def test_a_broker_that_is_gone_moves_nothing() -> None:
    run = Run()
    run.broker.available = False
    with pytest.raises(Unavailable, match="2 records were not written"):
        run.publisher().run(lines(0, 1))
    assert run.durable == []


def test_equal_rows_have_equal_ids_on_every_run() -> None:
    first, second = Run(), Run()
    first.publisher().run(lines(0, 1, 2))
    second.publisher().run(list(lines(0, 1, 2))[1:])
    assert [r.key for r in first.broker.records("posts")][1:] == [r.key for r in second.broker.records("posts")]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=[]), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TIMES = st.integers(T0, T0 + 10**9) | JSON_VALUES


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional={"t": TIMES, "text": st.text(max_size=20) | JSON_VALUES}), max_size=8))
def test_any_row_is_sent_or_refused_with_a_reason(rows: list[dict[str, Any]]) -> None:
    run = Run()
    publisher = run.publisher(allow_unordered=True)
    assert publisher.run(Line(number, row, 0) for number, row in enumerate(rows, 1))
    assert publisher.sent + publisher.rejected == len(rows)
    assert [SocialPost.model_validate_json(record.value).source for record in run.broker.records("posts")] == [
        "s"
    ] * publisher.sent
    assert all(error.field and error.fix for _, error in run.rejects)
