"""Options that several verbs have: the same name, the same values and the same words everywhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.contract import EARLIEST_MS, LATEST_MS
from pipeline.errors import ConfigurationError
from pipeline.times import iso_ms

MAX = "max"
HomeOption = Annotated[Path | None, typer.Option(help="Home of the stack: data, logs, configuration.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
SpeedOption = Annotated[str, typer.Option(help="Event time over real time: 1, 60, …, or max.")]


class EncoderChoice(StrEnum):
    """Which encoder reads the texts."""

    TRANSFORMER = "transformer"
    FAKE = "fake"


EncoderOption = Annotated[EncoderChoice, typer.Option(help="fake needs no weights and knows only a few words.")]


def require_text(text: str) -> str:
    """Return what was typed. Raises ConfigurationError where it is no UTF-8, which nothing that is stored can be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{text!r} is no UTF-8; nothing is stored under such a name") from None
    return text


def parse_speed(text: str) -> float | None:
    """Return the factor of ``--speed``, or None for as fast as possible."""
    if text == MAX:
        return None
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < float("inf"):
        raise ConfigurationError(f"--speed {text}: write a number above 0, or max")
    return factor


def parse_time(text: str) -> int:
    """Return epoch milliseconds of an ISO date or time (UTC unless it says otherwise) or of a number of milliseconds."""
    try:
        time_ms = int(text) if text.isdigit() else iso_ms(text)
    except ValueError:
        raise ConfigurationError(
            f"time {text!r} is not a date; write 2014-07-01, 2014-07-01T16:00 or epoch milliseconds"
        ) from None
    if not EARLIEST_MS <= time_ms < LATEST_MS:
        raise ConfigurationError(f"time {text!r} lies outside 2000 to 2100; epoch times are milliseconds")
    return time_ms
