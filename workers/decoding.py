"""Records in, events or dead letters out; each refusal names field, value and fix.

Every record is validated on its own. Joining a batch into one JSON array would save nothing (measured: 1.7 µs a record
either way) and would let two broken records swallow the good ones between them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pipeline.adapters.streams import Record
from pipeline.contract import check_not_future
from pipeline.core.refusals import Origin, dead_letter, refusal
from pipeline.errors import ConfigurationError, InvalidRecord
from pipeline.events import BehaviorEvent, DeadLetter, SocialPost

Event = SocialPost | BehaviorEvent

_ADAPTERS: Mapping[type[Event], TypeAdapter[Any]] = {
    SocialPost: TypeAdapter(SocialPost),
    BehaviorEvent: TypeAdapter(BehaviorEvent),
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """A record that could be read."""

    record: Record
    event: Event


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that can never be used, and what is written about it."""

    record: Record
    letter: DeadLetter


def decode(records: Sequence[Record], contracts: Mapping[str, type[Event]], now_ms: int) -> list[Decoded | Rejected]:
    """Return one answer per record, in order. ``contracts``: the contract of each full topic name."""
    return [_decode_one(record, contracts, now_ms) for record in records]


def rejected(record: Record, error: InvalidRecord, now_ms: int) -> Rejected:
    """Return the dead letter of a record, with its original bytes."""
    origin = Origin(record.topic, record.partition, record.offset, record.timestamp_ms, record.key, record.value)
    return Rejected(record, dead_letter(error, origin, now_ms))


def _decode_one(record: Record, contracts: Mapping[str, type[Event]], now_ms: int) -> Decoded | Rejected:
    contract = contracts.get(record.topic)
    if contract is None:
        raise ConfigurationError(f"topic {record.topic!r} has no contract here; the worker reads {', '.join(contracts)}")
    try:
        event: Event = _ADAPTERS[contract].validate_json(record.value)
        check_not_future(event.event_time_ms, now_ms)
    except ValidationError as error:
        return rejected(record, refusal(error, record.value), now_ms)
    except InvalidRecord as error:
        return rejected(record, error, now_ms)
    return Decoded(record, event)
