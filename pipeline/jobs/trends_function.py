"""The keyed function that hosts an operator inside Flink: buffer on arrival, fold when the watermark passes a pane.

An arriving post is appended to a list state as bytes: no decoding, no read, one append that Flink's Python runtime sends
with its bundle. When the watermark passes the end of a pane with posts in it, or a timer of the operator, the state of
the entity is decoded, everything due is folded (``pipeline.core.fold``), and the state is written back. PyFlink has no hook
at a checkpoint, so nothing may live in memory only: the decoded states and marks kept here repeat what the state holds,
and a restored task, which begins with empty ones, reads them again.

Bytes travel between Java and Python, and stand in the state, as text of one character a byte (ISO 8859-1): Flink's thread
mode cannot take byte arrays from Python, and so a savepoint of one mode fits the other.

A source without new records stops the watermark, and the last panes would stay open for ever. So an entity that has been
quiet for ``idleness_ms``, and whose last pane has ended by the wall clock too, is folded up to the end of that pane. Posts
that come afterwards are corrections like any others behind the watermark, so this changes when results come, not which.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from pyflink.common import Row, Types
from pyflink.datastream import KeyedProcessFunction, OutputTag, RuntimeContext, TimeDomain, TimerService
from pyflink.datastream.state import ListStateDescriptor

from pipeline.core.fold import Arrival, Held, decode_held, due_ms, encode_held, fold, pane_end_ms, quiet_at_ms
from pipeline.core.market_rules import OFF, group_of
from pipeline.core.pane_digest import PaneDigest, encode_digest
from pipeline.core.spikes import make_operator
from pipeline.core.trends import Operator, Step
from pipeline.events import Alert, ScoredPost, Trend
from pipeline.jobs.scored_letters import scored_letter
from pipeline.jobs.trends_job import TrendsJob
from pipeline.times import AFTER_ALL_MS, BEFORE_ALL_MS

DECODED_ENTITIES: Final = 2_000
ONE_BYTE: Final = "iso-8859-1"
BUFFERED: Final = Types.ROW([Types.STRING(), Types.INT(), Types.LONG()])  # payload, partition, offset
RESULT: Final = Types.ROW_NAMED(
    ["topic", "entity", "payload", "at_ms"], [Types.STRING(), Types.STRING(), Types.STRING(), Types.LONG()]
)
LATE: Final = OutputTag("late", RESULT)  # posts behind the allowed lateness
PANES: Final = OutputTag("panes", Types.ROW([Types.STRING(), BUFFERED]))  # for the markets: group, digest with its start


@dataclass(slots=True)
class Mark:
    """What the function remembers of an entity between calls; all of it can be read from the state again."""

    newest_ms: int
    due_ms: int = AFTER_ALL_MS
    touched_ms: int = 0
    watched: bool = False


class FoldingFunction(KeyedProcessFunction):  # type: ignore[misc]
    """Rows of (payload, partition, offset) by key in; rows of (topic, entity, payload, event time) out."""

    def __init__(self, job: TrendsJob) -> None:
        self._job = job

    def open(self, runtime_context: RuntimeContext) -> None:
        """Build the operator, open the two states, and count what comes out."""
        self._operator = self._make_operator()
        self._stored = runtime_context.get_list_state(ListStateDescriptor("held", Types.STRING()))  # one, or none at first
        self._waiting = runtime_context.get_list_state(ListStateDescriptor("waiting", Types.STRING()))
        self._marks: dict[str, Mark] = {}
        self._decoded: OrderedDict[str, Held[Any]] = OrderedDict()
        metrics = runtime_context.get_metrics_group().add_group("groundswell")
        job = self._job
        names = {job.trends: "trends", job.alerts: "alerts", job.late: "late_posts", job.dead_letters: "dead_letters"}
        self._counters = {topic: metrics.counter(name) for topic, name in names.items()}

    def _make_operator(self) -> Operator[Any, Any]:
        raise NotImplementedError

    def _times(self, value: Row, ctx: KeyedProcessFunction.Context, mark: Mark) -> tuple[int, int]:
        """Return the event time of a row, and the newest event time before it: what its lateness goes by."""
        raise NotImplementedError

    def _apply(self, held: Held[Any], ready: list[Arrival], until_ms: int) -> tuple[Step, list[Row]]:
        """Fold what is ready; return what the operator says, and rows about what could not be read."""
        raise NotImplementedError

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterable[Row]:
        """Buffer one row, and see to it that its pane's end wakes this key."""
        key, timers = ctx.get_current_key(), ctx.timer_service()
        mark = self._marks.get(key) or self._recall(key, timers.current_processing_time())
        at_ms, newest_ms = self._times(value, ctx, mark)
        self._waiting.add(f"{at_ms} {newest_ms} {value[1]} {value[2]} {value[0]}")
        mark.newest_ms = max(mark.newest_ms, at_ms)
        mark.touched_ms = timers.current_processing_time()
        _wake(mark, pane_end_ms(at_ms), timers)
        if not mark.watched:
            mark.watched = True
            timers.register_processing_time_timer(self._quiet_at_ms(mark))
        return ()

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[Row]:
        """Fold what the watermark has passed, or, where the key went quiet, everything that arrived."""
        key, timers = ctx.get_current_key(), ctx.timer_service()
        mark = self._marks.get(key) or self._recall(key, timers.current_processing_time())
        if ctx.time_domain() == TimeDomain.EVENT_TIME:
            mark.due_ms = AFTER_ALL_MS
            yield from self._fold(key, mark, timers.current_watermark(), timers)
        elif timestamp < self._quiet_at_ms(mark):
            timers.register_processing_time_timer(self._quiet_at_ms(mark))
        else:
            mark.watched = False
            yield from self._fold(key, mark, pane_end_ms(mark.newest_ms), timers)

    def _fold(self, key: str, mark: Mark, until_ms: int, timers: TimerService) -> Iterator[Any]:
        """Fold everything due and store what is left; yields the results."""
        held = self._held(key)
        waiting = list(self._waiting.get() or ())
        ready = [each for each in map(_arrival, waiting) if each.event_time_ms <= until_ms]
        kept = [each for each in waiting if _time_of(each) > until_ms]
        if ready:
            self._waiting.update(kept)
        step, unread = self._apply(held, ready, until_ms)
        due = due_ms(held, map(_time_of, kept))
        if due is not None:
            _wake(mark, due, timers)
        self._store(key, held)
        yield from self._rows(key, step)
        yield from unread

    def _store(self, key: str, held: Held[Any]) -> None:
        if held.is_blank:
            self._stored.clear()
            del self._decoded[key], self._marks[key]
        else:
            self._stored.update([encode_held(self._operator, held).decode(ONE_BYTE)])

    def _held(self, key: str) -> Held[Any]:
        """Return the decoded state of a key; the most recently folded ones are kept."""
        held = self._decoded.pop(key, None)
        if held is None:
            stored = [decode_held(self._operator, each.encode(ONE_BYTE)) for each in self._stored.get() or ()]
            held = stored[0] if stored else Held(self._operator.new_state())
        self._decoded[key] = held
        if len(self._decoded) > DECODED_ENTITIES:
            self._decoded.popitem(last=False)
        return held

    def _recall(self, key: str, now_ms: int) -> Mark:
        """Return the mark of a key that this task has not met: a new one, or one from before a restart.

        A restart does not make a key quiet: timers of the wall clock that were due before fire at once, ahead of all posts.
        """
        arrivals = map(_arrival, self._waiting.get() or ())
        newest = max((max(each.event_time_ms, each.newest_before_ms) for each in arrivals), default=BEFORE_ALL_MS)
        mark = self._marks[key] = Mark(max(newest, self._held(key).newest_ms), touched_ms=now_ms)
        return mark

    def _quiet_at_ms(self, mark: Mark) -> int:
        return quiet_at_ms(mark.touched_ms, mark.newest_ms, self._job.detector.out_of_orderness_ms, self._job.idleness_ms)

    def _rows(self, key: str, step: Step) -> Iterator[Any]:
        yield from self._told(self._job.trends, key, step.trends)
        yield from self._told(self._job.alerts, key, step.alerts)

    def _told(self, topic: str, key: str, records: Sequence[ScoredPost | Trend | Alert]) -> Iterator[Row]:
        """Count and yield the rows of what goes to one topic."""
        self._counters[topic].inc(len(records))
        for record in records:
            yield Row(topic, key, record.to_json().decode(), record.event_time_ms)


class TrendFunction(FoldingFunction):
    """Posts by entity; late ones go to the side output LATE, digests of panes to PANES, unless nobody listens."""

    def _make_operator(self) -> Operator[Any, Any]:
        return make_operator(self._job.detector, tells_panes=self._job.detector.market.groups != OFF)

    def _times(self, value: Row, ctx: KeyedProcessFunction.Context, mark: Mark) -> tuple[int, int]:  # noqa: ARG002
        return ctx.timestamp(), mark.newest_ms

    def _apply(self, held: Held[Any], ready: list[Arrival], until_ms: int) -> tuple[Step, list[Row]]:
        posts, invalid = _decoded(ready)
        return fold(self._operator, held, posts, until_ms, self._job.detector.out_of_orderness_ms), list(
            map(self._letter, invalid)
        )

    def _letter(self, invalid: tuple[Arrival, ValidationError]) -> Row:
        arrival, error = invalid
        self._counters[self._job.dead_letters].inc()
        letter = scored_letter(self._job.scored, arrival, error)
        return Row(self._job.dead_letters, self._job.scored, letter.to_json().decode(), arrival.event_time_ms)

    def _rows(self, key: str, step: Step) -> Iterator[Any]:
        yield from super()._rows(key, step)
        for row in self._told(self._job.late, key, step.late):
            yield LATE, row
        for pane in step.panes:
            yield PANES, Row(group_of(pane.entity, self._job.detector.market.groups), buffered_pane(pane))


def buffered_pane(pane: PaneDigest) -> Row:
    """Return the row of a digest; its place says when its pane starts."""
    return Row(encode_digest(pane).decode(), 0, pane.start_ms)


def _arrival(waiting: str) -> Arrival:
    at_ms, newest_ms, partition, offset, payload = waiting.split(" ", 4)
    return Arrival(int(at_ms), int(newest_ms), int(partition), int(offset), payload.encode(ONE_BYTE))


def _time_of(waiting: str) -> int:
    return int(waiting[: waiting.index(" ")])


def _wake(mark: Mark, at_ms: int, timers: TimerService) -> None:
    """Ask for a call at ``at_ms`` of event time, unless one is on its way before that."""
    if at_ms < mark.due_ms:
        mark.due_ms = at_ms
        timers.register_event_time_timer(at_ms)


def _decoded(
    arrivals: Iterable[Arrival],
) -> tuple[list[tuple[Arrival, ScoredPost]], list[tuple[Arrival, ValidationError]]]:
    posts, invalid = [], []
    for arrival in arrivals:
        try:
            posts.append((arrival, ScoredPost.model_validate_json(arrival.payload)))
        except ValidationError as error:
            invalid.append((arrival, error))
    return posts, invalid
