"""How a verb with an end of its own is ended earlier: at the next record, with everything flushed."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event


@contextmanager
def interrupting(stop: Event) -> Iterator[Event]:
    """Let SIGINT and SIGTERM set ``stop``, and nothing else, while this lasts."""
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
