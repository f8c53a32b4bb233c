"""List dead letters, and send them again: each distinct one once, however often the command runs or is interrupted.

A cursor per reason (a consumer group's committed offset) tells up to where the dead-letter topic is done. Before a batch is
sent, the ends of its target topics are noted beside the cursor; a run that finds such a note was preceded by one that died
between sending and moving the cursor, and looks behind the noted ends for what arrived (every record that is sent again
carries its origin in a header). Two runs at the same time are not kept apart, and a broker that forgets group offsets
(offsets.retention.minutes, seven days by default) forgets the cursors too.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from threading import Event

import structlog
from pydantic import ValidationError

from pipeline.adapters.streams import Cursor, Cursors, Reader, Record, Sink, TopicPartition, check_record
from pipeline.errors import InvalidRecord, Reason
from pipeline.events import DeadLetter

CURSOR = "groundswell-redrive"
ORIGIN = "groundswell-dead-letter"
BATCH = 500
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Found:
    """A dead letter and where in the dead-letter topic it stands."""

    letter: DeadLetter
    place: TopicPartition
    offset: int

    @property
    def origin(self) -> str:
        """Identify the record that became a dead letter; an alert becomes one for each endpoint, which ``field`` names."""
        record = f"{self.letter.topic}/{self.letter.partition}/{self.letter.offset}"
        return f"{record} {self.letter.field}" if self.letter.reason is Reason.DELIVERY_EXHAUSTED else record


@dataclass(frozen=True, slots=True)
class Listed:
    """A distinct dead letter, and whether it was sent again; ``refused`` says why it never can be."""

    found: Found
    redriven: bool
    refused: str = ""


@dataclass
class Redriven:
    """What a run did. ``distinct`` = sent + already + refused + left."""

    distinct: int = 0
    sent: int = 0
    already: int = 0
    refused: int = 0
    left: int = 0

    def as_dict(self) -> dict[str, int]:
        """Return the counts for JSON."""
        return asdict(self)


def find(reader: Reader, topic: str, reason: Reason | None = None) -> list[Found]:
    """Return the distinct dead letters of a topic in order; a worker that was redelivered may write one twice."""
    distinct: dict[str, Found] = {}
    for found in _decode(reader.read_range(topic)):
        distinct.setdefault(found.origin, found)
    return [found for found in distinct.values() if reason is None or found.letter.reason is reason]


def listing(reader: Reader, cursors: Cursors, topic: str, reason: Reason | None = None) -> list[Listed]:
    """Return the distinct dead letters of a topic and which of them were sent again."""
    letters = find(reader, topic, reason)
    done = {each: cursors.load(_name(each), topic) for each in {found.letter.reason for found in letters}}
    return [_listed(found, done[found.letter.reason].get(found.place)) for found in letters]


def _listed(found: Found, cursor: Cursor | None) -> Listed:
    refused = _refusal(found.letter)
    return Listed(found, not refused and _is_done(found, cursor), refused)


@dataclass(frozen=True, slots=True)
class Redrive:
    """Sends dead letters of ``topic`` back to where they came from, with their original bytes, key and timestamp."""

    reader: Reader
    cursors: Cursors
    sink: Sink
    topic: str

    def run(self, reason: Reason | None, stop: Event) -> Redriven:
        """Send each distinct dead letter (of a reason) that was not sent yet; end between two batches once ``stop`` is set."""
        counts = Redriven()
        letters = find(self.reader, self.topic, reason)
        counts.distinct = len(letters)
        for each in sorted({found.letter.reason for found in letters}):
            self._run_reason(each, [found for found in letters if found.letter.reason is each], counts, stop)
        return counts

    def _run_reason(self, reason: Reason, letters: Sequence[Found], counts: Redriven, stop: Event) -> None:
        cursors = dict(self.cursors.load(_name(reason), self.topic))
        listed = [_listed(found, cursors.get(found.place)) for found in letters]
        for each in listed:
            self._count_closed(each, counts)
        open_letters = [each.found for each in listed if not each.redriven and not each.refused]
        arrived = self._arrived(cursors.values())
        for start in range(0, len(open_letters), BATCH):
            if stop.is_set():
                counts.left += len(open_letters) - start
                return
            self._send(reason, open_letters[start : start + BATCH], arrived, counts)

    def _count_closed(self, each: Listed, counts: Redriven) -> None:
        counts.already += each.redriven
        if each.refused:
            counts.refused += 1
            log.warning("dead_letter_refused", origin=each.found.origin, error=each.refused)

    def _send(self, reason: Reason, batch: Sequence[Found], arrived: set[str], counts: Redriven) -> None:
        fresh = [found for found in batch if found.origin not in arrived]
        counts.already += len(batch) - len(fresh)
        if fresh:
            note = self._note({found.letter.topic for found in fresh})
            begin = {found.place: Cursor(found.offset, note) for found in reversed(batch)}
            self.cursors.store(_name(reason), begin)
        for found in fresh:
            self._write(found, counts)
        self.sink.flush()
        self.cursors.store(_name(reason), {found.place: Cursor(found.offset + 1) for found in batch})

    def _write(self, found: Found, counts: Redriven) -> None:
        letter = found.letter
        try:
            self.sink.write(letter.topic, letter.key, letter.payload, letter.timestamp_ms, ((ORIGIN, found.origin.encode()),))
        except InvalidRecord as error:
            counts.refused += 1
            log.warning("dead_letter_refused", origin=found.origin, error=str(error))
        else:
            counts.sent += 1

    def _note(self, topics: Iterable[str]) -> str:
        ends = {topic: [[p.partition, end] for p, end in self.reader.end_offsets(topic).items()] for topic in sorted(topics)}
        return json.dumps(ends, separators=(",", ":"))

    def _arrived(self, cursors: Iterable[Cursor]) -> set[str]:
        """Return the origins that an interrupted run sent after it had noted where its targets end."""
        arrived = set()
        for note in {cursor.note for cursor in cursors if cursor.note}:
            for topic, ends in json.loads(note).items():
                offsets = {TopicPartition(topic, partition): end for partition, end in ends}
                arrived |= {origin for record in self.reader.read_from(topic, offsets) for origin in _origins(record)}
        return arrived


def _decode(records: Iterable[Record]) -> Iterator[Found]:
    for record in records:
        try:
            letter = DeadLetter.model_validate_json(record.value)
        except ValidationError as error:
            log.warning("dead_letter_unreadable", offset=record.offset, error=error.errors(include_url=False)[0]["msg"])
            continue
        yield Found(letter, record.topic_partition, record.offset)


def _refusal(letter: DeadLetter) -> str:
    """Return why the record can never be sent again, or an empty text. What only the time forbids, the sink refuses."""
    try:
        check_record(letter.topic, letter.key, letter.payload, letter.timestamp_ms, None)
    except InvalidRecord as error:
        return str(error)
    return ""


def _origins(record: Record) -> Iterator[str]:
    return (value.decode("utf-8", "replace") for name, value in record.headers if name == ORIGIN)


def _is_done(found: Found, cursor: Cursor | None) -> bool:
    return cursor is not None and found.offset < cursor.offset


def _name(reason: Reason) -> str:
    return f"{CURSOR}.{reason}"
