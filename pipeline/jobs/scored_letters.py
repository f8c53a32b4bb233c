"""The dead letter of a record in the scored topic that is no scored post. Both hosts of the trend operator write it."""

from typing import Final, Protocol

from pydantic import ValidationError

from pipeline.errors import Reason
from pipeline.events import DeadLetter

REASONS: Final = {"json_invalid": Reason.INVALID_JSON, "missing": Reason.MISSING_FIELD}


class Positioned(Protocol):
    """What must be known of the record."""

    @property
    def partition(self) -> int:
        """Partition of the scored topic."""

    @property
    def offset(self) -> int:
        """Offset in it."""

    @property
    def payload(self) -> bytes:
        """The bytes that are no scored post."""

    @property
    def event_time_ms(self) -> int:
        """The record's timestamp; also the first-seen time, because nothing here reads a clock."""


def dead_letter(topic: str, record: Positioned, error: ValidationError) -> DeadLetter:
    """Return the dead letter: the first problem that pydantic found, and the bytes."""
    problem = error.errors(include_url=False)[0]
    return DeadLetter(
        reason=REASONS.get(problem["type"], Reason.INVALID_VALUE),
        field=".".join(str(part) for part in problem["loc"]) or "value",
        value=str(problem["input"])[: DeadLetter.MAX_VALUE_CHARS],
        fix=f"{problem['msg']}; only the worker writes this topic",
        topic=topic,
        partition=record.partition,
        offset=record.offset,
        first_seen_ms=record.event_time_ms,
        timestamp_ms=record.event_time_ms,
        payload=record.payload,
    )
