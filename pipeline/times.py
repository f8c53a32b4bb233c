"""Spans and limits of time in milliseconds, and how a written time becomes epoch milliseconds. Nothing here reads a clock."""

from datetime import UTC, datetime
from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

# Before and after every event: far from int64's ends, so that differences do not overflow anywhere.
BEFORE_ALL_MS: Final = -(2**62)
AFTER_ALL_MS: Final = 2**62


def epoch_ms(moment: datetime) -> int:
    """Return epoch milliseconds of a moment; without a zone it is UTC."""
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)


def iso_ms(text: str) -> int:
    """Return epoch milliseconds of an ISO 8601 date or time (UTC unless it says otherwise). Raises ValueError."""
    return epoch_ms(datetime.fromisoformat(text))
