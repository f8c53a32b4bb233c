"""Processes of a pool."""

import os
import signal

import pytest

from pipeline.pool import in_order, pool


def nothing() -> None:
    pass


def interrupted(number: int) -> int:
    """Get the Ctrl+C that a terminal sends to every process of a command."""
    os.kill(os.getpid(), signal.SIGINT)
    return number


@pytest.mark.timeout(120)
def test_an_interrupt_is_the_parents_to_tell(capfd: pytest.CaptureFixture[str]) -> None:
    with pool(1, nothing) as executor:
        assert list(in_order(executor, interrupted, [1, 2], ahead=1)) == [1, 2]
    assert "KeyboardInterrupt" not in capfd.readouterr().err
