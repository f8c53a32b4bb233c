"""Rows to records: map, check, pace by event time, send, and keep the place. Knows no file and no Kafka."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from threading import Event
from typing import Final

from pydantic import ValidationError

from pipeline.adapters.streams import BROKER_TOLERANCE_MS, Sink
from pipeline.contract import check_not_future
from pipeline.core.refusals import refusal
from pipeline.errors import ConfigurationError, InvalidRecord, Reason
from pipeline.events import BehaviorEvent, SocialPost
from producers.mapping import TIMES, FieldMapping
from producers.pace import Pace
from producers.rows import Line

FLUSH_RECORDS: Final = 4_000  # fewer than a profile's horizon: what a killed run sends again, even of one user, is known there
FLUSH_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to publish. ``speed`` is event time over real time; None means as fast as possible.

    A row may lie ``tolerance_ms`` before the latest row seen; beyond that it is an error that carries ``sort_hint``, or
    only counted with ``allow_unordered``. ``limit`` is the number of rows to take; None means all.
    """

    topic: str
    speed: float | None = None
    tolerance_ms: int = 0
    allow_unordered: bool = False
    limit: int | None = None
    sort_hint: str = ""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Where a run reports: refused rows, rows that are durable (up to a line), bytes read; and where it asks the time.

    ``monotonic_s`` is for durations, ``now_ms`` (epoch milliseconds) tells what lies in the future.
    """

    on_reject: Callable[[Line, InvalidRecord], None]
    on_durable: Callable[[int], None]
    on_progress: Callable[[Line], None]
    monotonic_s: Callable[[], float]
    now_ms: Callable[[], int]


@dataclass
class Publisher:
    """One run. Counts are of this run: rows = sent + rejected. ``unseen``: the mapping's columns that no row has had."""

    mapping: FieldMapping
    sink: Sink
    options: Options
    callbacks: Callbacks
    stop: Event
    sent: int = 0
    rejected: int = 0
    unordered: int = 0
    _latest: tuple[int, int] = field(default=(0, 0), init=False)  # latest event time, and its line
    _flushed_s: float = field(default=0.0, init=False)
    _done_line: int = field(default=0, init=False)
    _unflushed: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.unseen = set(self.mapping.columns)
        self._pace = Pace(self.options.speed, self.stop, self._flush, self.callbacks.monotonic_s)

    def run(self, lines: Iterable[Line]) -> bool:
        """Publish; return True at the end, False when stopped before. Raises Unavailable and ConfigurationError."""
        self._flushed_s = self.callbacks.monotonic_s()
        complete = all(self._take(line) for line in lines)
        self._flush()
        return complete

    def _take(self, line: Line) -> bool:
        if self.stop.is_set() or self.sent + self.rejected == self.options.limit:
            return False
        try:
            event = self._event(line)
            self._check_future(event.event_time_ms)
            self._check_order(line.number, event.event_time_ms)
            if not self._pace.wait_until_due(event.event_time_ms):
                return False
            self.sink.write(self.options.topic, self.mapping.topic.key_of(event), event.to_json(), event.event_time_ms)
            self.sent += 1
        except InvalidRecord as error:
            self.rejected += 1
            self.callbacks.on_reject(line, error)
        self._done_line = line.number
        self._unflushed += 1
        if self._unflushed >= FLUSH_RECORDS or self.callbacks.monotonic_s() - self._flushed_s >= FLUSH_S:
            self._flush()
            self.callbacks.on_progress(line)
        return True

    def _event(self, line: Line) -> SocialPost | BehaviorEvent:
        if isinstance(line.row, InvalidRecord):
            raise line.row
        if self.unseen:
            self.unseen.difference_update(line.row)
        fields = self.mapping.apply(line.row)
        try:
            return self.mapping.contract.model_validate(fields)
        except ValidationError as error:
            raise self._at_its_column(refusal(error, json.dumps(fields, default=str).encode())) from error

    def _at_its_column(self, refused: InvalidRecord) -> InvalidRecord:
        """Say where the mapping takes the refused field from; a time must be as the mapping reads it, not as a record has it."""
        name = refused.field.partition(".")[0]
        origin = self.mapping.origins.get(name)
        if origin is None:
            return refused
        unreadable = name in TIMES and refused.reason is Reason.WRONG_TYPE
        fix = "it cannot be read so; correct the row, or the mapping's unit" if unreadable else refused.fix
        return InvalidRecord(refused.reason, refused.field, refused.value, f"{fix} (from {origin})")

    def _check_future(self, time_ms: int) -> None:
        """Refuse what the sink would refuse when it is due: before the others are measured by its time, or wait for it."""
        due_ms = self.callbacks.now_ms() + round(max(0.0, self._pace.delay_s(time_ms)) * 1_000)
        check_not_future(time_ms, due_ms, BROKER_TOLERANCE_MS)

    def _check_order(self, number: int, time_ms: int) -> None:
        latest_ms, latest_line = self._latest
        if time_ms >= latest_ms:
            self._latest = time_ms, number
        elif time_ms < latest_ms - self.options.tolerance_ms:
            self.unordered += 1
            if not self.options.allow_unordered:
                self._flush()
                raise ConfigurationError(
                    f"line {number} happened {latest_ms - time_ms} ms before line {latest_line} ({self.sent} records were"
                    f" sent); {self.options.sort_hint}"
                )

    def _flush(self) -> None:
        """Make everything so far durable, then remember the place: never the other way round."""
        if self._unflushed:
            self.sink.flush()
            self._unflushed = 0
            self.callbacks.on_durable(self._done_line)
        self._flushed_s = self.callbacks.monotonic_s()
