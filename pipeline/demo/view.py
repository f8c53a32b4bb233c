"""The live terminal view: accounting and rates, mood by entity, moving profiles, alerts, webhooks that came in."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.core.shown import clock, counted, printable
from pipeline.demo.frames import Frame
from pipeline.demo.tally import Tally
from pipeline.events import AlertStatus

WIDEST_BAR: Final = 40
ENTITIES, PROFILES, ALERTS, WEBHOOKS = 10, 6, 10, 6
REFRESH_PER_SECOND: Final = 6
PLAIN_EVERY_S: Final = 10.0
STYLES: Final = {
    AlertStatus.OPENED: "bold red",
    AlertStatus.ESCALATED: "bold magenta",
    AlertStatus.UPDATED: "yellow",
    AlertStatus.RESOLVED: "green",
    AlertStatus.RETRACTED: "dim",
}


class LiveView:
    """Draws frames into the terminal while a ``with`` lasts."""

    def __init__(self, console: Console, head: str) -> None:
        self._head = f"[bold]groundswell demo[/]  {escape(head)}"
        self._live = Live(console=console, refresh_per_second=REFRESH_PER_SECOND, transient=True, screen=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def show(self, frame: Frame, tally: Tally) -> None:
        """Draw one frame."""
        self._live.update(render(frame, tally, self._head))


class PlainView:
    """Prints a line every ten seconds, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next_s = PLAIN_EVERY_S

    def show(self, frame: Frame, tally: Tally) -> None:
        """Print a line if it is time for one."""
        if frame.seconds >= self._next_s:
            self._next_s = frame.seconds + PLAIN_EVERY_S
            text = f"{_clock(tally.event_time_ms)} UTC: {frame.accounting}; {tally.alert_steps} alert steps"
            self._console.print(text, highlight=False)


def render(frame: Frame, tally: Tally, head: str) -> RenderableType:
    """Return the whole view."""
    body = Table.grid(expand=True)
    body.add_column(ratio=3)
    body.add_column(ratio=4)
    body.add_row(_panel("mood of the newest posts", _moods(tally), ENTITIES), _panel("alerts", _alerts(tally), ENTITIES))
    body.add_row(_panel("profiles that moved", _movers(frame), PROFILES), _panel("webhooks received", _webhooks(frame), PROFILES))
    return Group(Text.from_markup(head), _status(frame, tally), body)


def _panel(title: str, content: RenderableType, lines: int) -> Panel:
    return Panel(content, title=title, title_align="left", height=lines + 2)


def _status(frame: Frame, tally: Tally) -> Text:
    rate = frame.accounting.accepted / frame.seconds if frame.seconds > 0 else 0.0
    line = f"{_clock(tally.event_time_ms)} UTC   {frame.seconds:5.1f} s   {rate:,.0f} records/s   {frame.profiles:,} profiles\n"
    return Text(line).append(str(frame.accounting), style="green" if frame.accounting.holds() else "bold red")


@dataclass(frozen=True, slots=True)
class MoodBar:
    """The mood of the newest posts as a bar, as wide as its place allows."""

    shares: tuple[float, float, float]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        yield mood_bar(*self.shares, width=min(options.max_width, WIDEST_BAR))


def _moods(tally: Tally) -> Table:
    table = _grid(0, None, 3)
    for entity, mood in tally.loudest(ENTITIES):
        table.add_row(_name(entity), MoodBar(mood.shares()), f"{mood.posts:,}")
    return table


def mood_bar(negative: float, neutral: float, positive: float, width: int) -> Text:
    """Return a bar of ``width`` characters: red, grey and green in proportion."""
    whole = negative + neutral + positive
    red = round(width * negative / whole) if whole > 0 else 0
    green = min(width - red, round(width * positive / whole)) if whole > 0 else 0
    return Text.assemble(("█" * red, "red"), ("█" * (width - red - green), "bright_black"), ("█" * green, "green"))


def _movers(frame: Frame) -> Table:
    table = _grid(0, 6, 11, None)
    for mover in frame.movers[:PROFILES]:
        newest = Text(mover.newest, overflow="ellipsis", no_wrap=True, style="dim")
        table.add_row(_name(mover.user_id), counted(mover.events, "event"), f"turned {mover.turned:.2f}", newest)
    return table


def _alerts(tally: Tally) -> Table:
    table = _grid(11, 9, 4, 12, None)
    for latest, peak in tally.incidents(ALERTS):
        status = Text(latest.status, style=STYLES[latest.status])
        rule = Text(f"{peak.rule.replace('_', ' ')}, {peak.severity}", overflow="ellipsis", no_wrap=True)
        seen = f"{peak.observed:.0f} seen, {peak.band.expected:.1f} expected"
        table.add_row(_clock(latest.event_time_ms)[5:], status, _name(latest.entity), Text(seen, no_wrap=True), rule)
    return table


def _webhooks(frame: Frame) -> Table:
    table = _grid(12, 14, 4, None)
    for came in list(frame.webhooks)[-WEBHOOKS:][::-1]:
        mark = Text("signature ok", style="green") if came.verified else Text("REFUSED", style="bold red")
        table.add_row(mark, came.type, _name(came.entity), Text(printable(came.delivery_id[:12]), style="dim"))
    return table


def _grid(*least: int | None) -> Table:
    """Return a table of one-line columns with these least widths; the one without takes what is left."""
    table = Table.grid(padding=(0, 1), expand=True)
    for width in least:
        table.add_column(no_wrap=True, min_width=width, ratio=1 if width is None else None)
    return table


def _name(given: str) -> Text:
    """Return an id or a name that somebody else chose, on one line."""
    return Text(printable(given), overflow="ellipsis", no_wrap=True)


def _clock(time_ms: int) -> str:
    return clock(time_ms) if time_ms else "-"
