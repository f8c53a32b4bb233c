"""The trend operator: scored posts of one entity in, trends and alerts out. Every host drives this very object.

The host owns state, timers and the watermark; the operator owns every decision. For one entity the host calls
``on_event`` for each post and ``on_timer`` when the watermark passes a timer that an earlier ``Step`` asked for, timers
in ascending order. Within the allowed lateness the order of the posts does not change the result.

For hosts: ``pipeline.core.spikes.make_operator(DetectorConfig(...))`` makes the operator that is shipped; its configuration
stands in ``pipeline.core.detector_config``. ``on_event`` may ask for a timer at or before the watermark (a correction): fire
it when the watermark next moves, as Flink does. The watermark rule is Flink's: greatest event time - out-of-orderness - 1 ms.
At the end of a stream the timers still pending fire in order. Two hosts are compared by ``pipeline.core.corrections``:
``settled_trends`` and ``settled_alerts`` of what they gave out are equal.

``Trend.score`` is 0 wherever no lane has enough support to judge, so the panes with a score above 0 are exactly those at
which an alert may open: thresholds are calibrated on them.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypeVar

from pipeline.events import Alert, ScoredPost, Trend
from pipeline.times import MINUTE_MS
from pipeline.topics import ALERTS, LATE, TRENDS, Topic

if TYPE_CHECKING:
    from pipeline.core.pane_digest import PaneDigest

PANE_MS = 5 * MINUTE_MS

State = TypeVar("State")
Event = TypeVar("Event", contravariant=True)


class Step(NamedTuple):
    """What one call decided. ``timers`` are event times at which the operator wants to be called again.

    ``panes`` are for the operator of the group, where the operator was asked to tell them. ``is_gone``: the host need not keep
    the state, nor anything else about the key: it is to be as one never seen.
    """

    trends: tuple[Trend, ...] = ()
    alerts: tuple[Alert, ...] = ()
    timers: tuple[int, ...] = ()
    late: tuple[ScoredPost, ...] = ()
    panes: "tuple[PaneDigest, ...]" = ()
    is_gone: bool = False


NOTHING = Step()


def post_order(post: ScoredPost) -> tuple[int, str, str]:
    """Return the key of event-time order. Posts of one moment go by id and entity, so that the order is the same everywhere."""
    return post.event_time_ms, post.event_id, post.entity


def told(step: Step) -> Iterator[tuple[Topic, Trend | Alert | ScoredPost]]:
    """Yield what a step gives out, each with its topic: trends, alerts, and posts behind the allowed lateness."""
    yield from ((TRENDS, trend) for trend in step.trends)
    yield from ((ALERTS, alert) for alert in step.alerts)
    yield from ((LATE, post) for post in step.late)


class Operator(Protocol[State, Event]):
    """The rules over the state of one key. The state is changed in place; the host hands it over for the call."""

    def new_state(self) -> State:
        """Return the state of a key never seen."""

    def on_event(self, state: State, event: Event, watermark_ms: int, /) -> Step:
        """Take one post, or what else the operator works on; a post behind the allowed lateness comes back in ``late``."""

    def on_timer(self, state: State, timer_ms: int) -> Step:
        """Close the panes that end at or before ``timer_ms``, decide, and say when to be called again."""

    def encode_state(self, state: State) -> bytes:
        """Return the state as bytes with a version number."""

    def decode_state(self, encoded: bytes) -> State:
        """Return the state; older versions are migrated, newer ones raise StateVersionError."""


TrendOperator: TypeAlias = Operator[State, ScoredPost]
