import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipeline.demo.frames import Frame, Mover
from pipeline.demo.planted import Finding
from pipeline.demo.receiver import Webhooked
from pipeline.demo.report import print_report
from pipeline.demo.run import Demo, Summary
from pipeline.demo.tally import Tally
from pipeline.demo.view import LiveView, PlainView, mood_bar, render
from pipeline.errors import Reason
from pipeline.events import AlertStatus, DeadLetter, ScoredPost, Sentiment
from pipeline.inprocess import Accounting
from pipeline.settings import Settings
from producers.synthetic import Planted
from tests.alerts import START_MS, make_alert
from tests.receivers import SECRET
from workers.fake_encoder import FakeEncoder
from workers.rules import system_clock

FRAME = Frame(
    accounting=Accounting(12_345, 12_000, 300, 45),
    seconds=10.0,
    movers=(Mover("user-[/1]", 17, 0.25, "a kettle [bold]水壶"),),
    profiles=99,
    webhooks=(Webhooked("a1.0", True, "alert.opened", "[/ODD]\x1b[2J"), Webhooked("x", False)),
)


def make_tally() -> Tally:
    tally = Tally()
    for entity, negative, count in (("ACME", 0.9, 3), ("[red]ODD", 0.1, 2)):
        sentiment = Sentiment(negative=negative, neutral=round(0.95 - negative, 2), positive=0.05)
        tally.add_posts(
            ScoredPost(
                event_id=f"{entity}{n}",
                entity=entity,
                author_id="a",
                event_time_ms=START_MS + n,
                text="x",
                sentiment=sentiment,
                simhash="0" * 16,
                model="m",
                model_revision="1",
            )
            for n in range(count)
        )
    tally.add_alerts([make_alert(), make_alert(revision=1, status=AlertStatus.RESOLVED, score=0.1, observed=0.0)])
    return tally


def drawn(width: int = 140) -> str:
    console = Console(file=io.StringIO(), width=width, height=40)
    console.print(render(FRAME, make_tally(), "head"))
    return said(console)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_view_shows_accounts_moods_profiles_alerts_and_webhooks() -> None:
    text = drawn()
    for wanted in (
        "12,345 accepted = 12,000 scored + 300 dead letters + 45 in flight",
        "1,234 records/s",
        "ACME",
        "[red]ODD",
        "user-[/1]",
        "[/ODD]\ufffd[2J",
        "turned 0.25",
        "a kettle [bold]",
        "resolved",
        "21 seen, 3.0 expected",
        "signature ok",
        "REFUSED",
        "99 profiles",
        "2024-01-01 00:00 UTC",
    ):
        assert wanted in text


def test_the_view_fits_narrow_terminals() -> None:
    narrow = drawn(60)
    assert max(map(len, narrow.splitlines())) <= 60
    assert all(count in narrow for count in ("█ 3 ", "█ 2 "))  # a bar ends before the number, whatever the width
    assert drawn(140).count("█") > narrow.count("█") > 0


def test_a_mood_bar_is_as_wide_as_asked_and_in_proportion() -> None:
    bar = mood_bar(0.5, 0.25, 0.25, width=8)
    assert len(bar.plain) == 8
    assert [(span.end - span.start, span.style) for span in bar.spans] == [(4, "red"), (2, "bright_black"), (2, "green")]
    assert len(mood_bar(0.0, 0.0, 0.0, width=8).plain) == 8
    assert len(mood_bar(0.96, 0.0, 0.94, width=7).plain) == 7


def test_an_incident_keeps_its_peak_when_it_ends() -> None:
    ((latest, peak),) = make_tally().incidents(5)
    assert (latest.status, peak.observed) == (AlertStatus.RESOLVED, 21.0)


def test_open_incidents_come_first() -> None:
    tally = make_tally()
    tally.add_alerts([make_alert("b1", entity="LATE", event_time_ms=START_MS)])
    assert [latest.entity for latest, _ in tally.incidents(5)] == ["LATE", "ACME"]


def test_the_live_view_draws_and_leaves_nothing_behind() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=40)
    with LiveView(console, "synthetic [x]") as view:
        view.show(FRAME, make_tally())
    assert "synthetic [x]" in said(console)


def test_without_a_terminal_a_line_now_and_then_is_enough() -> None:
    console = Console(file=io.StringIO(), width=200)
    view = PlainView(console)
    for _ in range(3):
        view.show(FRAME, make_tally())
    assert said(console).count("\n") == 1


def test_the_report_names_figures_incidents_and_what_was_planted(tmp_path: Path) -> None:
    summary = Summary(10, 9, 1, 0, 4, 2, 2, 2, 1.5, True, 0, 0, 1, ("ACME.png",))
    found = Finding(Planted("ACME", "negative_spike", START_MS, START_MS + 1), 600_000, good=True)
    missed = Finding(Planted("ODD", "negative_spike", START_MS, START_MS + 1), None, good=False)
    fooled = Finding(Planted("BOT", "bot_flood", START_MS, START_MS + 1), 300_000, good=False)
    hasty = Finding(Planted("BOT", "bot_flood", START_MS, START_MS + 1), 300_000, good=True, taken_back_ms=60_000)
    text = reported(summary, [found, missed, fooled, hasty], tmp_path)
    for wanted in (
        "10 = 9 scored + 1 dead letters + 0 in flight",
        "2 sent, 2 verified",
        "all accounted for",
        "21.0 / 3.0",
        "found after 10 minutes",
        "not found",
        "taken for a change of mood",
        "coordinated activity after 5 minutes; a mood alert stood for 1 minute",
        "2 steps of 1 incident",
        "1 picture in",
    ):
        assert wanted in text
    assert not any(unasked in text for unasked in ("late", "refused", "dead letters, with"))


def reported(summary: Summary, findings: list[Finding], out: Path, letters: Sequence[DeadLetter] = ()) -> str:
    console = Console(file=io.StringIO(), width=120)
    run = Demo(FakeEncoder(), Settings(), system_clock(), SECRET)
    run.tally, run.dead_letters = make_tally(), list(letters)
    print_report(run, summary, findings, console, out)
    return " ".join(said(console).split())


def test_the_report_says_what_was_not_used_and_why(tmp_path: Path) -> None:
    fix = {"fix": "multiply by 1000", "topic": "posts", "partition": 0, "offset": 1, "first_seen_ms": 1, "timestamp_ms": 1}
    wrong = [
        DeadLetter(reason=Reason.TIME_OUT_OF_RANGE, field="event_time_ms", value=value, payload=b"x", **fix)
        for value in ("17[/x]\x1b", "18")
    ]
    text = reported(Summary(5, 3, 2, 0, 1, 0, 0, 0, 1.0, True, 7, 40, 0, ()), [], tmp_path, wrong)
    for wanted in (
        "40 scored posts behind the allowed lateness",
        "7 records too large",
        "event_time_ms",
        "17[/x]\ufffd",
        "multiply",
    ):
        assert wanted in text
    assert " 18 " not in text


def test_where_the_files_stand_is_told_on_one_line(tmp_path: Path) -> None:
    out = tmp_path / ("deep" * 20)
    assert f"{out / 'alerts.jsonl'}, 1 picture in {out / 'pictures'}" in reported(
        Summary(0, 0, 0, 0, 0, 0, 0, 0, 1.0, True, 0, 0, 0, ("A.png",)), [], out
    )
