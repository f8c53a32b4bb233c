"""How far a long command is: a bar on a terminal, a line now and then elsewhere, in a log file or a CI job."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_S = 15.0


class Teller(Protocol):
    """Tells a user how far a task is."""

    def show(self, done: int, total: int | None, note: str = "") -> None:
        """Say how much is done; ``note`` says what else is known now."""

    def tell(self, line: str) -> None:
        """Say something once."""


@dataclass(slots=True)
class Lines:
    """Tells in lines: the first at once, then one every ``LINE_EVERY_S``, and the last when all is done."""

    name: str
    unit: str
    write: Callable[[str], None]
    clock: Callable[[], float] = monotonic
    _started: tuple[float, int] | None = field(default=None, init=False)
    _done: int = field(default=0, init=False)
    _told_s: float = field(default=float("-inf"), init=False)

    def show(self, done: int, total: int | None, note: str = "") -> None:
        """Write a line if it is time for one."""
        now_s = self.clock()
        if self._started is None or done < self._done or done == self._started[1]:  # what comes before is no speed
            self._started = (now_s, done)
        ended, self._done = done == total != self._done, done
        if not ended and now_s - self._told_s < LINE_EVERY_S:
            return
        self._told_s = now_s
        self.write(f"{self.name}: {self._line(done, total, now_s)}{note and f'; {note}'}")

    def tell(self, line: str) -> None:
        """Write the line."""
        self.write(line)

    def _line(self, done: int, total: int | None, now_s: float) -> str:
        assert self._started is not None
        seconds, fresh = now_s - self._started[0], done - self._started[1]
        parts = [f"{done:,} {self.unit}" if total is None else f"{done:,} of {total:,} {self.unit}"]
        if seconds > 0 and fresh > 0:
            parts.append(f"{fresh / seconds:.3g}/s")
            if total is not None and done < total:
                parts.append(f"{duration((total - done) * seconds / fresh)} left")
        return ", ".join(parts)


@dataclass(slots=True)
class Bar:
    """Tells by a bar that moves."""

    progress: Progress
    name: str
    _task: int = field(init=False)

    def __post_init__(self) -> None:
        self._task = self.progress.add_task(self.name, total=None)

    def show(self, done: int, total: int | None, note: str = "") -> None:
        """Move the bar."""
        self.progress.update(self._task, completed=done, total=total, description=note or self.name)  # type: ignore[arg-type]

    def tell(self, line: str) -> None:
        """Print the line above the bar."""
        self.progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def telling(name: str, unit: str, known_total: bool = True) -> Iterator[Teller]:
    """Yield who tells how far ``name`` is, on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(name, unit, lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
        return
    ends = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) if known_total else (SpinnerColumn(), MofNCompleteColumn())
    with Progress(TextColumn("{task.description}", markup=False), *ends, TimeElapsedColumn(), console=console) as progress:
        yield Bar(progress, name)


@contextmanager
def counting(name: str, unit: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Yield a call that hears how many more are done."""
    done = 0
    with telling(name, unit, total is not None) as teller:

        def advance(count: int) -> None:
            nonlocal done
            done += count
            teller.show(done, total)

        yield advance


def duration(seconds: float) -> str:
    """Return a length of time as people say it: ``40 s``, ``12 min``, ``3 h 5 min``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
