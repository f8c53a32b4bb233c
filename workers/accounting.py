"""What a worker knows of its own records: accepted = scored + dead letters + in flight, and since when one is in flight."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.adapters.health import Readiness
from pipeline.adapters.streams import Record, TopicPartition
from pipeline.errors import Stop
from pipeline.telemetry import Metrics
from workers.decoding import Rejected
from workers.effects import Effects
from workers.preparing import Chunk
from workers.rules import TopicNames


class Totals(NamedTuple):
    """Records of one process since its start."""

    accepted: int = 0
    scored: int = 0
    dead_letters: int = 0

    @property
    def in_flight(self) -> int:
        """Return the records that were taken and whose effects are not durable yet."""
        return self.accepted - self.scored - self.dead_letters


class RecordWatch:
    """Counts records and watches the oldest one. The loop writes; the health server's thread only reads."""

    def __init__(self, metrics: Metrics, topics: TopicNames, stuck_after_s: float) -> None:
        self._metrics = metrics
        self._topics = topics
        self._stuck_after_s = stuck_after_s
        self._taken_at_s: tuple[float, ...] = ()
        self.totals = Totals()
        self._dead_in_a_row = 0
        self._judged: dict[TopicPartition, int] = {}  # the last offset that was looked at

    def started(self, chunk: Chunk) -> None:
        """Note that a chunk goes to the device; what came again while it was gathered is one record, not two."""
        self._taken_at_s = (*self._taken_at_s, chunk.since_s)
        self.totals = self.totals._replace(accepted=self.totals.accepted - chunk.repeated)

    def taken(self, records: Sequence[Record]) -> None:
        """Note the records of one poll."""
        self.totals = self.totals._replace(accepted=self.totals.accepted + len(records))
        for topic in (self._topics.posts, self._topics.events):
            number = sum(record.topic == topic for record in records)
            self._metrics.count("accepted_total", number, topic=self._topics.short(topic))
        self._metrics.set("in_flight_records", self.totals.in_flight)

    def dropped(self, records: Sequence[Record]) -> None:
        """Note that the oldest chunk in flight was put back into its topics."""
        self._taken_at_s = self._taken_at_s[1:]
        self.totals = self.totals._replace(accepted=self.totals.accepted - len(records))

    def prepared(self, chunk: Chunk, limit: int) -> None:
        """Note the texts of one poll. Raises Stop when ``limit`` records in a row could not be used (0: never)."""
        asked = sum(scorable.key is not None for scorable in chunk.scorables)
        self._metrics.count("texts_total", asked)
        self._metrics.count("cache_hits_total", asked - len(chunk.missing))
        self._refused(chunk.records, chunk.rejected, limit)

    def _refused(self, records: Sequence[Record], rejections: Sequence[Rejected], limit: int) -> None:
        reasons = {id(one.record): one.letter for one in rejections}
        for record in records:
            if record.offset <= self._judged.get(record.topic_partition, -1):
                continue  # it comes again after a rebalance, and is no further record in the row
            self._judged[record.topic_partition] = record.offset
            letter = reasons.get(id(record))
            self._dead_in_a_row = 0 if letter is None else self._dead_in_a_row + 1
            if letter is not None and 0 < limit <= self._dead_in_a_row:
                raise Stop(
                    f"{limit} records in a row cannot be used; the last one, {record.topic}:{record.partition}:{record.offset}, "
                    f"because of {letter.reason}: {letter.field}; {letter.fix}. Mend the producer, then raise "
                    "GROUNDSWELL_WORKER__MAX_CONSECUTIVE_DEAD_LETTERS to pass what is in the topic"
                )

    def settled(self, effects: Effects, now_ms: int) -> None:
        """Note that every effect of the oldest chunk in flight is durable."""
        self._taken_at_s = self._taken_at_s[1:]
        scored, dead = _count(effects.scored), _count(effects.dead)
        self.totals = self.totals._replace(scored=self.totals.scored + scored, dead_letters=self.totals.dead_letters + dead)
        for partition, offsets in effects.scored.items():
            self._metrics.count("scored_total", len(offsets), topic=self._topics.short(partition.topic))
        for letter in effects.letters:
            self._metrics.count("dead_letters_total", topic=self._topics.short(letter.topic), reason=letter.reason.value)
        for update in effects.updates:
            waited_ms = now_ms - update.event.event_time_ms
            self._metrics.observe("event_to_profile_seconds", max(0, waited_ms) / 1000)
        self._metrics.set("in_flight_records", self.totals.in_flight)

    def lag(self, lag: Mapping[TopicPartition, int]) -> None:
        """Show how far behind the end the worker is."""
        for topic in (self._topics.posts, self._topics.events):
            behind = sum(records for partition, records in lag.items() if partition.topic == topic)
            self._metrics.set("lag_records", behind, topic=self._topics.short(topic))

    def readiness(self, now_s: float) -> Readiness:
        """Return whether records move; the oldest record in flight says it."""
        oldest_s = now_s - self._taken_at_s[0] if self._taken_at_s else 0.0
        self._metrics.set("oldest_in_flight_seconds", oldest_s)
        if oldest_s > self._stuck_after_s:
            return Readiness(False, f"a record is in flight for {oldest_s:.0f} s, longer than {self._stuck_after_s:.0f} s")
        return Readiness(True, f"{self.totals.in_flight} records in flight")


def _count(offsets: Mapping[TopicPartition, Sequence[int]]) -> int:
    return sum(map(len, offsets.values()))
