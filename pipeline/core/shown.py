"""How things are written for people: numbers with their nouns, times, and names that somebody else chose."""

from datetime import UTC, datetime


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where that is right."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def printable(text: str) -> str:
    """Return the text as a terminal may be shown it: ids and names may hold anything, commands to the terminal too."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def clock(time_ms: int) -> str:
    """Return a time in UTC, to the minute: ``2024-01-05 16:08``."""
    return utc(time_ms)[:-3]


def utc(time_ms: int) -> str:
    """Return a time in UTC, to the second: ``2024-01-05 16:08:30``."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
