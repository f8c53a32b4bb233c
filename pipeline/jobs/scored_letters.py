"""The dead letter of a record in the scored topic that is no scored post. Both hosts of the trend operator write it."""

from pydantic import ValidationError

from pipeline.core.fold import Arrival
from pipeline.core.refusals import Origin, dead_letter, refusal
from pipeline.events import DeadLetter


def scored_letter(topic: str, record: Arrival, error: ValidationError) -> DeadLetter:
    """Return the dead letter. It is first seen at the record's timestamp, because nothing here reads a clock."""
    origin = Origin(topic, record.partition, record.offset, record.event_time_ms, None, record.payload)
    return dead_letter(refusal(error, record.payload), origin, record.event_time_ms, "; only the worker writes this topic")
