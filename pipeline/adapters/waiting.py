"""Wait for a condition, never for a while."""

import time
from collections.abc import Callable
from threading import Event


def wait_until(condition: Callable[[], bool], timeout_s: float, interval_s: float = 0.05) -> bool:
    """Ask ``condition`` every ``interval_s`` seconds; return True once it holds, False after ``timeout_s`` seconds."""
    deadline = time.monotonic() + timeout_s
    never = Event()
    while not condition():
        if time.monotonic() >= deadline:
            return False
        never.wait(interval_s)
    return True
