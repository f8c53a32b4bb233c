"""What the demo says at the end: the summary, the incidents, and what was planted."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.demo.planted import Finding
from pipeline.demo.run import Summary
from pipeline.demo.tally import Tally
from pipeline.events import Alert, Rule

SHOWN = 12


def print_report(console: Console, summary: Summary, tally: Tally, findings: Sequence[Finding], out: Path) -> None:
    """Print the end of a run."""
    console.print(_numbers(summary))
    if tally.alerts:
        console.print(_incidents(tally.incidents(SHOWN)))
    if findings:
        console.print(_planted(findings))
    written = f"{out / 'summary.json'}, {out / 'alerts.jsonl'}, {len(summary.pictures)} pictures in {out / 'pictures'}"
    console.print(Text(f"written: {written}", overflow="fold"))


def _numbers(summary: Summary) -> Table:
    title = "what happened" if summary.complete else "what happened until it was interrupted"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
    equation = f"{summary.scored:,} scored + {summary.dead_letters:,} dead letters + {summary.in_flight:,} in flight"
    table.add_row("accepted", f"{summary.accepted:,} = {equation}")
    table.add_row("profiles", f"{summary.profiles:,}")
    table.add_row("alerts", f"{summary.alerts:,} steps of {summary.incidents:,} incidents")
    table.add_row("webhooks", f"{summary.webhooks_sent:,} sent, {summary.webhooks_verified:,} verified")
    table.add_row("time", f"{summary.seconds:.1f} s, {summary.accepted / max(summary.seconds, 1e-9):,.0f} records/s")
    table.add_row(
        "verdict", Text("all accounted for, all verified", "green") if summary.is_good() else Text("NOT good", "bold red")
    )
    return table


def _incidents(incidents: Sequence[tuple[Alert, Alert]]) -> Table:
    table = Table(title="incidents, with the negative posts of their peak", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("entity", "rule", "severity", "since (UTC)", "now", "seen/expected"):
        table.add_column(column, no_wrap=True)
    for latest, peak in incidents:
        seen = f"{peak.observed:.1f} / {peak.band.expected:.1f}" if peak.rule is not Rule.COORDINATED_ACTIVITY else "not judged"
        rule, since = latest.rule.replace("_", " "), _clock(latest.starts_at_ms)[5:]
        table.add_row(Text(latest.entity), rule, latest.severity, since, latest.status, seen)
    return table


def _planted(findings: Sequence[Finding]) -> Table:
    table = Table(title="what was planted", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("entity", "what", "from (UTC)", "outcome"):
        table.add_column(column)
    for finding in findings:
        planted = finding.planted
        outcome = Text(_outcome(finding), "green" if finding.good else "bold red")
        table.add_row(planted.entity, planted.kind.replace("_", " "), _clock(planted.from_ms), outcome)
    return table


def _outcome(finding: Finding) -> str:
    flood = finding.planted.kind != "negative_spike"
    if flood and not finding.good:
        return "taken for a change of mood"
    if finding.delay_ms is None:
        return "no alert, rightly" if flood else "not found"
    name = "told as coordinated activity" if flood else "found"
    return f"{name} after {finding.delay_ms // 60_000} minutes"


def _clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
