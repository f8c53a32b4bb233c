"""Wait for a condition, never for a while."""

import time
from collections.abc import Callable
from threading import Event

from pipeline.errors import Unavailable


def wait_until(condition: Callable[[], bool], timeout_s: float, interval_s: float = 0.05) -> bool:
    """Ask ``condition`` every ``interval_s`` seconds; return True once it holds, False after ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    never = Event()
    while not condition():
        if time.monotonic() >= deadline:
            return False
        never.wait(interval_s)
    return True


def wait_for_answer(condition: Callable[[], bool], timeout_s: float, interval_s: float = 0.05) -> bool:
    """As ``wait_until``, where ``condition`` asks a server: one that does not answer (Unavailable) is asked again.

    Where time runs out without an answer, raises what it said last.
    """
    unanswered: list[Unavailable] = []

    def holds() -> bool:
        unanswered.clear()
        try:
            return condition()
        except Unavailable as error:
            unanswered.append(error)
            return False

    held = wait_until(holds, timeout_s, interval_s)
    if unanswered:
        raise unanswered[0]
    return held
