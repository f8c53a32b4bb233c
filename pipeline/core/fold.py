"""How a host that buffers drives the trend operator: posts and timers of one entity in event-time order, up to a watermark.

A distributed host learns of time in jumps: its watermark comes now and then, and no two runs see the same jumps. So it only
buffers a post when it arrives, and folds later: all buffered posts up to the watermark in event-time order (ties in order of
arrival), each timer before the first post at or after it. What comes out then depends on the event times alone.

Lateness must not depend on the jumps either. It is judged by the clock of the entity itself: the newest event time that
arrived *before* the post, less the bounded out-of-orderness. Kafka keeps the order of one key, so every host and every
restart sees the same clock.
"""

import struct
from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeVar

from pipeline.core.trends import NOTHING, PANE_MS, Operator, Step
from pipeline.errors import StateVersionError
from pipeline.times import BEFORE_ALL_MS

State = TypeVar("State")
Event = TypeVar("Event")

HELD_VERSION: Final = 1
_HEAD: Final = struct.Struct(">BqI")  # version, newest event time, number of pending timers; then timers, then the operator's


class Arrival(NamedTuple):
    """A buffered record: its event time, the newest event time of its entity before it arrived, where it stood, its bytes."""

    event_time_ms: int
    newest_before_ms: int
    partition: int
    offset: int
    payload: bytes


@dataclass(slots=True)
class Held(Generic[State]):
    """What a host keeps for one entity between two folds. ``timers`` are pending and ascending."""

    state: State
    newest_ms: int = BEFORE_ALL_MS
    timers: list[int] = field(default_factory=list)

    @property
    def is_blank(self) -> bool:
        """Return whether this is what is held of an entity never seen."""
        return self.newest_ms == BEFORE_ALL_MS and not self.timers


def pane_end_ms(event_time_ms: int) -> int:
    """Return the exclusive end of the pane that holds this time."""
    return event_time_ms - event_time_ms % PANE_MS + PANE_MS


def quiet_at_ms(touched_ms: int, newest_ms: int, out_of_orderness_ms: int, idleness_ms: int) -> int:
    """Return the wall-clock time at which a source that stays silent is folded without waiting for the watermark.

    That is ``idleness_ms`` after it was last heard of (``touched_ms``, wall clock), and after the pane of its newest event time
    ended by the wall clock as well.
    """
    return max(touched_ms, pane_end_ms(newest_ms) + out_of_orderness_ms) + idleness_ms


def due_ms(held: Held[State], waiting_ms: Iterable[int]) -> int | None:
    """Return the earliest event time at which folding has something to decide; None where nothing is pending.

    ``waiting_ms``: the event times of the posts that are still buffered.
    """
    return min([*held.timers[:1], *map(pane_end_ms, waiting_ms)], default=None)


def fold(
    operator: Operator[State, Event], held: Held[State], posts: Sequence[tuple[Arrival, Event]], until_ms: int, delay_ms: int
) -> Step:
    """Apply ``posts`` and every pending timer up to ``until_ms`` (inclusive) in event-time order; changes ``held``.

    ``delay_ms`` is the bounded out-of-orderness. The caller hands over the posts at or before ``until_ms`` in order of arrival.
    """
    steps: list[Step] = []
    for arrival, post in sorted(posts, key=lambda each: each[0].event_time_ms):
        _fire(operator, held, min(arrival.event_time_ms, until_ms), steps)
        held.newest_ms = max(held.newest_ms, arrival.event_time_ms, arrival.newest_before_ms)
        _keep(held, operator.on_event(held.state, post, arrival.newest_before_ms - delay_ms - 1), steps)
    _fire(operator, held, until_ms, steps)
    return _joined(steps)


def fold_at_once(
    operator: Operator[State, Event], held: Held[State], events: Iterable[tuple[Arrival, Event]], until_ms: int, delay_ms: int
) -> Step:
    """Apply all events in order of arrival, then the last timer up to ``until_ms``: many corrections then cost one.

    For operators that decide at a timer about everything before it, in order.
    """
    steps: list[Step] = []
    for arrival, event in events:
        held.newest_ms = max(held.newest_ms, arrival.event_time_ms, arrival.newest_before_ms)
        _keep(held, operator.on_event(held.state, event, arrival.newest_before_ms - delay_ms - 1), steps)
    while due := bisect_right(held.timers, until_ms):
        last_ms = held.timers[due - 1]
        del held.timers[:due]
        _keep(held, operator.on_timer(held.state, last_ms), steps)
    return _joined(steps)


def encode_held(operator: Operator[State, Any], held: Held[State]) -> bytes:
    """Return ``held`` as bytes: a header with a version number, then the operator's own encoding."""
    head = _HEAD.pack(HELD_VERSION, held.newest_ms, len(held.timers))
    return head + struct.pack(f">{len(held.timers)}q", *held.timers) + operator.encode_state(held.state)


def decode_held(operator: Operator[State, Any], encoded: bytes) -> Held[State]:
    """Return what ``encode_held`` wrote; raises StateVersionError for a newer version."""
    if encoded[0] > HELD_VERSION:
        raise StateVersionError(
            f"trend state has version {encoded[0]}, this code reads up to {HELD_VERSION}; run the newer release"
        )
    _, newest_ms, count = _HEAD.unpack_from(encoded)
    timers = struct.unpack_from(f">{count}q", encoded, _HEAD.size)
    state = operator.decode_state(encoded[_HEAD.size + 8 * count :])
    return Held(state, newest_ms, list(timers))


def _fire(operator: Operator[State, Any], held: Held[State], until_ms: int, steps: list[Step]) -> None:
    """Call the operator for each pending timer at or before ``until_ms``, also those that it asks for meanwhile."""
    while held.timers and held.timers[0] <= until_ms:
        step = operator.on_timer(held.state, held.timers.pop(0))
        if step.is_gone:
            held.state, held.newest_ms, held.timers = operator.new_state(), BEFORE_ALL_MS, []
        _keep(held, step, steps)


def _keep(held: Held[State], step: Step, steps: list[Step]) -> None:
    for timer_ms in step.timers:
        if timer_ms not in held.timers:
            insort(held.timers, timer_ms)
    if step.trends or step.alerts or step.late or step.panes:
        steps.append(step)


def _joined(steps: Sequence[Step]) -> Step:
    if not steps:
        return NOTHING
    return Step(
        trends=tuple(trend for step in steps for trend in step.trends),
        alerts=tuple(alert for step in steps for alert in step.alerts),
        late=tuple(post for step in steps for post in step.late),
        panes=tuple(pane for step in steps for pane in step.panes),
    )
