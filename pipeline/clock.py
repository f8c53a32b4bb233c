"""The wall clock, for hosts: rules take the time as an argument."""

from time import time


def wall_clock_ms() -> int:
    """Return the time now in epoch milliseconds, by this machine's clock."""
    return int(time() * 1_000)
