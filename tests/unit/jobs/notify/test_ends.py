"""The end of an alert of which an endpoint has not heard: not sent to it, and not lost."""

from collections.abc import Callable
from typing import Any

from pipeline.core.delivery import Answer, Status
from pipeline.core.grouping import Grouping
from pipeline.events import AlertReason, AlertStatus
from tests.alerts import make_alert
from tests.unit.jobs.notify.house import DOWN, OK, House, Recorder, settle_all

RESOLVED: dict[str, Any] = {"status": AlertStatus.RESOLVED, "reason": AlertReason.QUIET}


def failing(*ids: str) -> tuple[Callable[[str, int], Answer], list[bool]]:
    """Return answers that refuse these ids until the list beside them is no longer empty."""
    mended: list[bool] = []
    return lambda delivery_id, _before: DOWN if delivery_id in ids and not mended else OK, mended


def statuses(house: House, *ids: str, endpoint: str = "e1") -> list[Status | None]:
    known = (house.log.get(endpoint, delivery_id) for delivery_id in ids)
    return [None if each is None else each.status for each in known]


def test_an_endpoint_that_was_set_after_the_opening_does_not_hear_the_end() -> None:
    house = House()
    first, second = Recorder(house.clock), Recorder(house.clock, endpoint="later")
    house.produce(make_alert("a1"), make_alert("b1", entity="BOLT"))
    settle_all(house, house.notifier(first), steps=2)
    house.produce(
        make_alert("a1", 1, **RESOLVED), make_alert("b1", 1, entity="BOLT"), make_alert("b1", 2, entity="BOLT", **RESOLVED)
    )
    notifier = house.notifier(first, second)
    settle_all(house, notifier, steps=2)
    assert first.ids()[2:] == ["a1.1", "b1.1", "b1.2"]
    assert second.ids() == ["b1.1", "b1.2"], "of what went on it heard, so it hears the end"
    held = house.log.get("later", "a1.1")
    assert held is not None
    assert (held.status, held.last_answer) == (Status.INHIBITED, "unheard: over before this endpoint was told")
    assert house.metric("inhibited_total", reason="unheard") == 1
    assert notifier.idle()
    assert house.letters() == []


def test_where_the_opening_is_a_dead_letter_its_end_is_one_too_and_they_go_again_in_order() -> None:
    house = House()
    answer, mended = failing("a1.0")
    receiver = Recorder(house.clock, answer)
    house.produce(make_alert("a1"), make_alert("a1", 1, **RESOLVED))
    notifier = house.notifier(receiver)
    settle_all(house, notifier)
    assert receiver.ids() == ["a1.0"] * 3
    assert statuses(house, "a1.0", "a1.1") == [Status.EXHAUSTED, Status.EXHAUSTED]
    letters = house.letters()
    assert [letter.field for letter in letters] == ["a1.0 -> e1", "a1.1 -> e1"]
    assert letters[1].value == "unheard: the steps before it did not arrive"
    mended.append(True)
    for letter in letters:
        house.broker.append(letter.topic, letter.key, letter.payload, letter.timestamp_ms)
    settle_all(house, notifier)
    assert receiver.ids()[3:] == ["a1.0", "a1.1"]
    assert len(house.letters()) == 2


def test_an_opening_that_did_not_arrive_is_made_up_for_by_what_did() -> None:
    house = House()
    receiver = Recorder(house.clock, failing("a1.0")[0])
    house.produce(make_alert("a1"), make_alert("a1", 1), make_alert("a1", 2, **RESOLVED))
    settle_all(house, house.notifier(receiver))
    assert receiver.ids()[3:] == ["a1.1", "a1.2"]


def test_such_an_end_goes_with_no_group() -> None:
    house = House()
    grouping = Grouping(("rule",), wait_ms=5_000, interval_ms=300_000)
    receiver = Recorder(house.clock)
    house.produce(make_alert("a1", 1, **RESOLVED), make_alert("b1"), make_alert("c1"), make_alert("d1", 1, **RESOLVED))
    settle_all(house, house.notifier(receiver, grouping=grouping), steps=4)
    assert len(receiver.sent) == 1
    assert receiver.ids()[0].startswith("group.")
    assert statuses(house, "a1.1", "b1.0", "c1.0", "d1.1") == [
        Status.INHIBITED,
        Status.DELIVERED,
        Status.DELIVERED,
        Status.INHIBITED,
    ]
