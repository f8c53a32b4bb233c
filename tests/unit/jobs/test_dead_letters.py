from collections.abc import Mapping
from threading import Event

import pytest

from pipeline.adapters.memory import MemoryBroker, MemorySink
from pipeline.adapters.memory_reader import MemoryCursors, MemoryReader
from pipeline.adapters.streams import Cursor, TopicPartition
from pipeline.errors import Reason, Unavailable
from pipeline.events import DeadLetter
from pipeline.jobs import dead_letters
from pipeline.jobs.dead_letters import Redrive, Redriven, find, listing

NOW = 1_700_000_000_000
DLQ = "dead-letters"


class Crash(Exception):
    """Stands for the end of the process."""


class CrashingCursors(MemoryCursors):
    """Dies when told to: at the n-th store, before it is stored."""

    def __init__(self, fatal: int) -> None:
        super().__init__()
        self._left = fatal

    def store(self, name: str, cursors: Mapping[TopicPartition, Cursor]) -> None:
        self._left -= 1
        if self._left == 0:
            raise Crash
        super().store(name, cursors)


def letter(offset: int, reason: Reason = Reason.INVALID_JSON, topic: str = "posts") -> DeadLetter:
    return DeadLetter(
        reason=reason,
        field="record",
        value="{",
        fix="write JSON",
        topic=topic,
        partition=0,
        offset=offset,
        first_seen_ms=NOW,
        timestamp_ms=NOW - offset,
        key=b"k%d" % offset,
        payload=b"\xff\x00payload %d" % offset,
    )


def broker_with(*letters: DeadLetter) -> MemoryBroker:
    broker = MemoryBroker({"posts": 2, "events": 2, DLQ: 1})
    for each in letters:
        broker.append(DLQ, each.topic.encode(), each.to_json(), each.first_seen_ms)
    return broker


def redrive(broker: MemoryBroker, cursors: MemoryCursors, reason: Reason | None = None) -> Redriven:
    return Redrive(MemoryReader(broker), cursors, MemorySink(broker, lambda: NOW), DLQ).run(reason, Event())


def test_bytes_key_and_timestamp_go_back_as_they_were() -> None:
    broker = broker_with(letter(5))
    assert redrive(broker, MemoryCursors()).as_dict() == {"distinct": 1, "sent": 1, "already": 0, "refused": 0, "left": 0}
    (record,) = broker.records("posts")
    assert (record.key, record.value, record.timestamp_ms) == (b"k5", b"\xff\x00payload 5", NOW - 5)
    assert record.headers == (("groundswell-dead-letter", b"posts/0/5"),)


def test_a_second_run_sends_nothing_and_a_new_letter_goes_alone() -> None:
    broker, cursors = broker_with(letter(1), letter(2)), MemoryCursors()
    assert redrive(broker, cursors).sent == 2
    assert redrive(broker, cursors).as_dict() == {"distinct": 2, "sent": 0, "already": 2, "refused": 0, "left": 0}
    broker.append(DLQ, None, letter(3).to_json(), NOW)
    assert redrive(broker, cursors).sent == 1
    assert len(broker.records("posts")) == 3


def test_a_letter_that_was_written_twice_is_one_letter() -> None:
    broker, cursors = broker_with(letter(1), letter(1), letter(2)), MemoryCursors()
    assert len(find(MemoryReader(broker), DLQ)) == 2
    assert redrive(broker, cursors).sent == 2
    broker.append(DLQ, None, letter(2).to_json(), NOW)
    assert redrive(broker, cursors).sent == 0


def test_an_alert_that_two_endpoints_did_not_take_is_two_letters() -> None:
    exhausted = letter(1, Reason.DELIVERY_EXHAUSTED)
    first, second = (exhausted.model_copy(update={"field": f"a1.0 -> {name}"}) for name in ("a.org (1f)", "b.org (2e)"))
    broker, cursors = broker_with(first), MemoryCursors()
    assert redrive(broker, cursors).sent == 1
    for again in (second, first, second):
        broker.append(DLQ, None, again.to_json(), NOW)
    shown = listing(MemoryReader(broker), cursors, DLQ)
    assert [(each.found.letter.field, each.redriven) for each in shown] == [(first.field, True), (second.field, False)]
    assert redrive(broker, cursors).as_dict() == {"distinct": 2, "sent": 1, "already": 1, "refused": 0, "left": 0}
    origins = [dict(record.headers)["groundswell-dead-letter"] for record in broker.records("posts")]
    assert origins == [b"posts/0/1 a1.0 -> a.org (1f)", b"posts/0/1 a1.0 -> b.org (2e)"]


def test_reasons_are_redriven_apart() -> None:
    broker = broker_with(letter(1), letter(2, Reason.WRONG_TYPE), letter(3), letter(4, Reason.EMPTY_TEXT))
    cursors = MemoryCursors()
    assert redrive(broker, cursors, Reason.WRONG_TYPE).sent == 1
    assert [each.redriven for each in listing(MemoryReader(broker), cursors, DLQ)] == [False, True, False, False]
    assert redrive(broker, cursors).as_dict() == {"distinct": 4, "sent": 3, "already": 1, "refused": 0, "left": 0}


@pytest.mark.parametrize("fatal", [1, 2, 3, 4, 5, 6])
def test_an_interrupted_run_and_the_next_one_send_each_letter_once(fatal: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "BATCH", 4)
    letters = [letter(offset, topic="events" if offset % 3 else "posts") for offset in range(10)]
    broker, cursors = broker_with(*letters), CrashingCursors(fatal)
    broker.append("posts", b"other", b"someone else's", NOW)
    with pytest.raises(Crash):
        redrive(broker, cursors)
    redrive(broker, cursors)
    values = sorted(record.value for topic in ("posts", "events") for record in broker.records(topic))
    assert values == sorted([b"someone else's", *(each.payload for each in letters)])


def test_a_broker_that_goes_away_leaves_the_rest_for_the_next_run() -> None:
    broker, cursors = broker_with(letter(1)), MemoryCursors()
    broker.available = False
    with pytest.raises(Unavailable):
        redrive(broker, cursors)
    broker.available = True
    assert redrive(broker, cursors).sent == 1


def test_a_stop_leaves_whole_batches() -> None:
    broker = broker_with(letter(1), letter(2))
    stop = Event()
    stop.set()
    counts = Redrive(MemoryReader(broker), MemoryCursors(), MemorySink(broker), DLQ).run(None, stop)
    assert (counts.left, counts.sent, len(broker.records("posts"))) == (2, 0, 0)


def test_what_the_broker_must_refuse_is_counted() -> None:
    late = letter(1).model_copy(update={"timestamp_ms": NOW + 10**8})
    assert redrive(broker_with(late, letter(2)), MemoryCursors()).as_dict() == {
        "distinct": 2,
        "sent": 1,
        "already": 0,
        "refused": 1,
        "left": 0,
    }


@pytest.mark.parametrize("change", [{"payload": b"x" * 1_000_001}, {"timestamp_ms": -1}])
def test_what_can_never_be_sent_is_told_every_time_and_never_as_sent(change: dict[str, object]) -> None:
    broker, cursors = broker_with(letter(1), letter(2).model_copy(update=change), letter(3)), MemoryCursors()
    first, second = redrive(broker, cursors).as_dict(), redrive(broker, cursors).as_dict()
    assert first == {"distinct": 3, "sent": 2, "already": 0, "refused": 1, "left": 0}
    assert second == {"distinct": 3, "sent": 0, "already": 2, "refused": 1, "left": 0}
    shown = listing(MemoryReader(broker), cursors, DLQ)
    assert [(each.redriven, bool(each.refused)) for each in shown] == [(True, False), (False, True), (True, False)]


def test_an_unreadable_dead_letter_is_passed_over() -> None:
    broker = broker_with(letter(1))
    broker.append(DLQ, None, b"not a dead letter", NOW)
    assert len(find(MemoryReader(broker), DLQ)) == 1
