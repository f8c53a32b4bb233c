import signal
from threading import Event

from pipeline.adapters.stopping import interrupting


def test_a_signal_stops_the_work_and_is_itself_again_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interrupting(Event()) as stop:
        signal.raise_signal(signal.SIGTERM)
    assert stop.is_set()
    assert signal.getsignal(signal.SIGTERM) is before
