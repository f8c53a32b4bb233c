"""What the demo says at the end: the summary, the incidents, and what was planted."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.core.shown import clock, counted, printable
from pipeline.demo.planted import Finding
from pipeline.demo.run import Demo, Summary
from pipeline.events import Alert, DeadLetter, Rule
from pipeline.times import MINUTE_MS

SHOWN = 12
VALUE_CHARS = 40


def print_report(run: Demo, summary: Summary, findings: Sequence[Finding], console: Console, out: Path) -> None:
    """Print the end of a run."""
    console.print(_numbers(summary))
    if run.dead_letters:
        console.print(_unusable(run.dead_letters))
    if run.tally.alerts:
        console.print(_incidents(run.tally.incidents(SHOWN)))
    if findings:
        console.print(_planted(findings))
    pictures = f"{counted(len(summary.pictures), 'picture')} in {out / 'pictures'}"
    console.print(Text(f"written: {out / 'summary.json'}, {out / 'alerts.jsonl'}, {pictures}"), soft_wrap=True)


def _numbers(summary: Summary) -> Table:
    title = "what happened" if summary.complete else "what happened until it was interrupted"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    table.add_row("accepted", f"{summary.accepted:,} = {summary.accounting.whereabouts}")
    table.add_row("profiles", f"{summary.profiles:,}")
    table.add_row("alerts", f"{counted(summary.alerts, 'step')} of {counted(summary.incidents, 'incident')}")
    table.add_row("webhooks", f"{summary.webhooks_sent:,} sent, {summary.webhooks_verified:,} verified")
    table.add_row("time", f"{summary.seconds:.1f} s, {summary.accepted / max(summary.seconds, 1e-9):,.0f} records/s")
    if summary.late:
        said = f"{counted(summary.late, 'scored post')} behind the allowed lateness: no alert saw them; sort the lines by time"
        table.add_row("late", Text(said, "yellow"))
    if summary.refused:
        table.add_row("refused", Text(f"{counted(summary.refused, 'record')} too large for the stream", "yellow"))
    table.add_row(
        "verdict", Text("all accounted for, all verified", "green") if summary.is_good() else Text("NOT good", "bold red")
    )
    return table


def _unusable(letters: Sequence[DeadLetter]) -> Table:
    """Return the dead letters by reason and field, each with the first of its kind."""
    first = {(letter.reason, letter.field): letter for letter in reversed(letters)}
    counts = Counter((letter.reason, letter.field) for letter in letters)
    table = Table(title="dead letters, with an example of each kind", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("records", "field", "value", "fix"):
        table.add_column(column)
    for kind, count in counts.most_common(SHOWN):
        letter = first[kind]
        table.add_row(f"{count:,}", *(Text(printable(part)) for part in (letter.field, letter.value[:VALUE_CHARS], letter.fix)))
    return table


def _incidents(incidents: Sequence[tuple[Alert, Alert]]) -> Table:
    table = Table(title="incidents, with the negative posts of their peak", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("entity", "rule", "severity", "since (UTC)", "now", "seen/expected"):
        table.add_column(column, no_wrap=True)
    for latest, peak in incidents:
        seen = f"{peak.observed:.1f} / {peak.band.expected:.1f}" if peak.rule is not Rule.COORDINATED_ACTIVITY else "not judged"
        rule, since = latest.rule.replace("_", " "), clock(latest.starts_at_ms)[5:]
        table.add_row(Text(printable(latest.entity)), rule, latest.severity, since, latest.status, seen)
    return table


def _planted(findings: Sequence[Finding]) -> Table:
    table = Table(title="what was planted", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("entity", "what", "from (UTC)", "outcome"):
        table.add_column(column)
    for finding in findings:
        planted = finding.planted
        colour = "bold red" if not finding.good else "green" if finding.taken_back_ms is None else "yellow"
        outcome = Text(_outcome(finding), colour)
        table.add_row(planted.entity, planted.kind.replace("_", " "), clock(planted.from_ms), outcome)
    return table


def _outcome(finding: Finding) -> str:
    flood = finding.planted.kind != "negative_spike"
    if flood and not finding.good:
        return "taken for a change of mood"
    if finding.delay_ms is None:
        return "no alert, rightly" if flood else "not found"
    name = "told as coordinated activity" if flood else "found"
    hasty = "" if finding.taken_back_ms is None else f"; a mood alert stood for {_minutes(finding.taken_back_ms)}"
    return f"{name} after {_minutes(finding.delay_ms)}{hasty}"


def _minutes(milliseconds: int) -> str:
    return counted(milliseconds // MINUTE_MS, "minute")
