from threading import Event

import pytest

from producers.pace import LONG_WAIT_S, Pace

T0 = 1_700_000_000_000


class Clock(Event):
    """An event whose wait passes time at once, and the clock that shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.told: list[float | str] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.told.append(timeout)
        self.now_s += timeout
        return self.is_set()

    def pace(self, speed: float | None) -> Pace:
        return Pace(speed, self, lambda: self.told.append("flush"), lambda: self.now_s)


def test_the_first_event_goes_at_once_and_the_others_at_their_time() -> None:
    clock = Clock()
    pace = clock.pace(60.0)
    assert all(pace.wait_until_due(T0 + offset_ms) for offset_ms in (0, 30_000, 30_000, 90_000))
    assert clock.told == [pytest.approx(0.5), pytest.approx(1.0)]


def test_what_is_overdue_goes_at_once() -> None:
    clock = Clock()
    pace = clock.pace(1.0)
    assert pace.wait_until_due(T0)
    clock.now_s += 5.0
    assert pace.wait_until_due(T0 + 4_000)
    assert clock.told == []


def test_before_a_long_wait_what_was_written_is_made_durable() -> None:
    clock = Clock()
    pace = clock.pace(1.0)
    assert pace.wait_until_due(T0)
    assert pace.wait_until_due(T0 + round(1000 * LONG_WAIT_S) + 1)
    assert clock.told == ["flush", pytest.approx(LONG_WAIT_S, abs=0.01)]


def test_without_a_speed_nothing_waits_until_it_is_stopped() -> None:
    clock = Clock()
    pace = clock.pace(None)
    assert pace.wait_until_due(T0)
    assert pace.wait_until_due(T0 + 10**9)
    clock.set()
    assert not pace.wait_until_due(T0 + 10**9)
    assert clock.told == []


def test_a_stop_while_an_event_waits_lets_it_go_no_more() -> None:
    clock = Clock()
    pace = clock.pace(1.0)
    assert pace.wait_until_due(T0)
    clock.set()
    assert not pace.wait_until_due(T0 + 500)
