"""How a process is ended from outside: by SIGTERM or SIGINT, after what is under way."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def stop_on_signals(signals: Sequence[signal.Signals] = STOP_SIGNALS) -> Event:
    """Return an event that the first of these signals sets; the second one ends the process at once."""
    stop = Event()

    def handle(number: int, _frame: object) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for one in signals:
        signal.signal(one, handle)
    return stop


@contextmanager
def interrupting(stop: Event) -> Iterator[Event]:
    """Let the signals set ``stop``, and nothing else, while this lasts: for work that has an end of its own."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in STOP_SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
