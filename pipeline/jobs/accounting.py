"""The accounting equation: accepted = scored + dead letters + in flight, always, for every input partition.

Accepted is what the broker holds; scored and dead letters are the worker's durable counters, written in one step with the
offset up to which they count; in flight is the rest. The consumer group's commits follow the counters, never lead them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.adapters.stores import Progress
from pipeline.adapters.streams import TopicPartition

Ranges = Mapping[TopicPartition, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Account:
    """Sums over the input partitions, in records. ``problems`` says where the equation or the order of commits fails."""

    accepted: int
    scored: int
    dead_letters: int
    in_flight: int
    lag: int
    problems: tuple[str, ...]

    @property
    def balanced(self) -> bool:
        """Tell whether the equation holds in every partition."""
        return not self.problems


def account(ranges: Ranges, progress: Mapping[TopicPartition, Progress], committed: Mapping[TopicPartition, int]) -> Account:
    """Return the account of the input topics.

    ``ranges`` are the broker's first and next offsets, ``progress`` the worker's counters, ``committed`` the group's offsets;
    they should be read in reverse order (commits, counters, broker), so that a running worker does not seem to be ahead.
    ``lag`` counts from the commits, ``in_flight`` from the counters. Records that retention removed after they were
    counted are accepted ones too.
    """
    lines = [_Line.of(partition, ranges[partition], progress.get(partition), committed.get(partition)) for partition in ranges]
    return Account(
        accepted=sum(line.accepted for line in lines),
        scored=sum(line.scored for line in lines),
        dead_letters=sum(line.dead for line in lines),
        in_flight=sum(line.in_flight for line in lines),
        lag=sum(line.lag for line in lines),
        problems=tuple(line.problem for line in lines if line.problem),
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """The account of one partition."""

    accepted: int
    scored: int
    dead: int
    in_flight: int
    lag: int
    problem: str

    @classmethod
    def of(cls, partition: TopicPartition, held: tuple[int, int], at: Progress | None, committed: int | None) -> "_Line":
        first, end = held
        reached = Progress(first) if at is None else at
        counted = reached.scored + reached.dead
        expired = min(max(0, counted - (reached.next_offset - first)), first)
        accepted, in_flight = end - first + expired, end - reached.next_offset
        lag = end - max(first, first if committed is None else committed)
        problem = _problem(partition, held, reached, committed, accepted - counted - in_flight)
        return cls(accepted, reached.scored, reached.dead, in_flight, lag, problem)


def _problem(partition: TopicPartition, held: tuple[int, int], at: Progress, committed: int | None, missing: int) -> str:
    where = f"{partition.topic}/{partition.partition}"
    if at.next_offset > held[1]:
        return f"{where}: counted up to offset {at.next_offset}, but the topic ends at {held[1]} (was it made anew?)"
    if missing:
        return f"{where}: {abs(missing)} records are {'not accounted for' if missing > 0 else 'counted twice'}"
    if committed is not None and committed > max(at.next_offset, held[0]):
        return f"{where}: offset {committed} is committed, but effects are durable only up to {at.next_offset}"
    return ""
