"""Spans and limits of time in milliseconds. Nothing here reads a clock."""

from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

# Before and after every event: far from int64's ends, so that differences do not overflow anywhere.
BEFORE_ALL_MS: Final = -(2**62)
AFTER_ALL_MS: Final = 2**62
