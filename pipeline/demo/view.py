"""The live terminal view: accounting and rates, mood by entity, moving profiles, alerts, webhooks that came in."""

from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pipeline.core.shown import printable
from pipeline.demo.frames import Frame
from pipeline.demo.tally import Tally
from pipeline.events import AlertStatus

BAR: Final = 24
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


def _moods(tally: Tally) -> Table:
    table = Table.grid(padding=(0, 1))
    for entity, mood in tally.loudest(ENTITIES):
        table.add_row(_name(entity), mood_bar(*mood.shares()), f"{mood.posts:,}")
    return table


def mood_bar(negative: float, neutral: float, positive: float, width: int = BAR) -> Text:
    """Return a bar of ``width`` characters: red, grey and green in proportion."""
    whole = negative + neutral + positive
    red = round(width * negative / whole) if whole > 0 else 0
    green = min(width - red, round(width * positive / whole)) if whole > 0 else 0
    return Text.assemble(("█" * red, "red"), ("█" * (width - red - green), "bright_black"), ("█" * green, "green"))


def _movers(frame: Frame) -> Table:
    table = Table.grid(padding=(0, 1))
    for mover in frame.movers[:PROFILES]:
        newest = Text(mover.newest, overflow="ellipsis", no_wrap=True, style="dim")
        table.add_row(_name(mover.user_id), f"{mover.events} events", f"turned {mover.turned:.2f}", newest)
    return table


def _alerts(tally: Tally) -> Table:
    table = Table.grid(padding=(0, 1))
    for latest, peak in tally.incidents(ALERTS):
        status = Text(latest.status, style=STYLES[latest.status])
        rule = Text(f"{peak.rule.replace('_', ' ')}, {peak.severity}", overflow="ellipsis", no_wrap=True)
        seen = f"{peak.observed:.0f} seen, {peak.band.expected:.1f} expected"
        table.add_row(_clock(latest.event_time_ms)[5:], status, _name(latest.entity), Text(seen, no_wrap=True), rule)
    return table


def _webhooks(frame: Frame) -> Table:
    table = Table.grid(padding=(0, 1))
    for came in list(frame.webhooks)[-WEBHOOKS:][::-1]:
        mark = Text("signature ok", style="green") if came.verified else Text("REFUSED", style="bold red")
        table.add_row(mark, came.type, _name(came.entity), Text(printable(came.delivery_id[:12]), style="dim"))
    return table


def _name(given: str) -> Text:
    """Return an id or a name that somebody else chose, on one line."""
    return Text(printable(given), overflow="ellipsis", no_wrap=True)


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M") if time_ms else "-"
