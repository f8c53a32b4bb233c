"""The report: one file, nothing from elsewhere, no text of any post."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.backtest.report import write_pictures
from pipeline.cli import app
from pipeline.commands import backtest as verbs
from tests.unit.backtest.test_prices import write_prices
from tests.unit.core.streams import DAY_MS, HOUR_MS, START_MS, background, in_order, shift

RUNNER = CliRunner()
FIELDS = {"precision", "recall", "visible_recall", "lead_time_min", "alerts_per_entity_day"} | {
    "realised_over_target", "flood_share", "seconds",
}  # fmt: skip
START_2014_MS = 1_388_534_400_000


def recorded_2014(path: Path) -> Path:
    """Write scored posts of 80 days of 2014, with a mood shift on the day A fell."""
    spike_ms = START_2014_MS + 70 * DAY_MS + 14 * HOUR_MS
    posts = in_order(
        background("A", 80, 12, 1, START_2014_MS), background("B", 80, 6, 2, START_2014_MS), shift("A", spike_ms, 14)
    )
    path.write_bytes(b"".join(post.to_json() + b"\n" for post in posts))
    return path


def run(tmp_path: Path, *options: str) -> dict[str, object]:
    if not app.registered_commands:
        verbs.register(app)
    posts = recorded_2014(tmp_path / "posts.jsonl")
    prices = write_prices(tmp_path / "prices.jsonl", fall_at=(70,))
    spans = ["--from", "2014-03-01", "--to", "2014-03-20", "--train-from", "2014-01-10", "--train-to", "2014-03-01"]
    files = [str(posts), "--prices", str(prices), "--out", str(tmp_path / "out")]
    result = RUNNER.invoke(app, ["backtest", *files, *spans, "--json", *options])
    assert result.exit_code == 0, result.output
    found: dict[str, object] = json.loads(result.stdout)
    return found


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_promised_fields_and_a_page_that_needs_nothing_else(tmp_path: Path) -> None:
    summary = run(tmp_path, "--lookahead", "--warmup", "--pictures")
    assert set(summary) >= FIELDS
    assert summary["precision"] == 1.0
    assert summary["visible_recall"] >= 0.5  # type: ignore[operator]
    assert summary["lookahead"]["clean"] is True  # type: ignore[index]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<h3>A</h3>" in page
    assert page.count("data:image/png;base64,") >= 6
    sources = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]{4})""", page)
    assert set(sources) == {"data"}
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert "text A-shift" not in page
    assert str(tmp_path) not in page
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"report.html", "summary.json", "trends.jsonl", "alerts.jsonl", "pictures"}
    drawn = {path.stem for path in (tmp_path / "out" / "pictures").iterdir()}
    wanted = {"precision-recall", "calibration", "delay", "tiers", "event-study", "market-all", "entity-A", "entity-B"}
    assert drawn == wanted, "B has an incident that nobody told"
    assert summary["market_alerts"] == []
    assert "No market had an alert." in page
    assert set(re.findall(r'<img alt="([^"]+)"', page)) == drawn


def test_pictures_of_entities_with_odd_names_stay_in_their_folder(tmp_path: Path) -> None:
    write_pictures({"entity-../A B": b"png"}, tmp_path / "pictures")
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["entity-..%2FA%20B.png"]


def test_pictures_of_entities_with_long_names_are_written_each(tmp_path: Path) -> None:
    write_pictures({f"entity-{'贵州茅台' * 30}{end}": end.encode() for end in "AB"}, tmp_path / "pictures")
    assert sorted(path.read_bytes() for path in (tmp_path / "pictures").iterdir()) == [b"A", b"B"]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_sweep_tunes_early_and_says_how_many_were_tried(tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text("share_weight: [0.25, 0.5]\n")
    summary = run(tmp_path, "--sweep", str(grid), "--processes", "1", "--no-report")
    assert summary["sweep"]["points"] == 2  # type: ignore[index]
    lines = (tmp_path / "out" / "sweep.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert "test" not in json.loads(lines[0])


def backtested(tmp_path: Path, *options: str) -> tuple[int, str]:
    """Run on a few days of posts without fitting, and return the exit code with what was said on stderr or raised."""
    if not app.registered_commands:
        verbs.register(app)
    posts = tmp_path / "posts.jsonl"
    posts.write_bytes(b"".join(post.to_json() + b"\n" for post in background("A", 4, 12, 1, START_2014_MS)))
    fast = ["--no-fit", "--no-market", "--no-report", "--processes", "1", "--out", str(tmp_path / "out")]
    result = RUNNER.invoke(app, ["backtest", str(posts), *fast, *options])
    return result.exit_code, f"{result.stderr}{result.exception or ''}"


def test_a_page_and_pictures_of_an_earlier_run_do_not_stay_beside_new_numbers(tmp_path: Path) -> None:
    pictures = tmp_path / "out" / "pictures"
    pictures.mkdir(parents=True)
    old = [tmp_path / "out" / "report.html", pictures / "entity-Z.png"]
    for path in (*old, pictures / "notes.txt"):
        path.write_text("old")
    assert backtested(tmp_path, "--seed", "-1")[0] == 2
    assert all(path.exists() for path in old), "a run that fails leaves what an earlier one wrote"
    assert backtested(tmp_path) == (0, "")
    assert [path.exists() for path in (*old, pictures / "notes.txt")] == [False, False, True]


def test_a_sweep_that_nothing_judges_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text("share_weight: [0.25, 0.5]\n")
    code, said = backtested(tmp_path, "--sweep", str(grid))
    assert code == 1
    assert "--sweep needs --prices or --truth" in said


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_sweep_that_finds_no_difference_leaves_the_settings_as_they_are(tmp_path: Path) -> None:
    grid, truth = tmp_path / "grid.yaml", tmp_path / "truth.jsonl"
    grid.write_text("share_weight: [0.25, 0.75]\n")
    truth.write_text("")
    code, said = backtested(tmp_path, "--sweep", str(grid), "--truth", str(truth))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (code, summary["sweep"]["best"]) == (0, {})
    assert summary["provenance"]["config"]["share_weight"] == 0.5
    assert "every point has the objective 0 on the training span; the settings stay as they are" in said


def test_what_is_judged_otherwise_than_asked_for_is_told(tmp_path: Path) -> None:
    code, said = backtested(tmp_path, "--to", "2020-01-01")
    assert (code, said.count("\n")) == (0, 1)
    assert "judged 2014-01-02 23:" in said
    assert "to 2014-01-05 00:00:00" in said


@pytest.mark.slow
def test_two_equal_runs_compare_as_the_same(tmp_path: Path) -> None:
    run(tmp_path, "--no-report")
    out = str(tmp_path / "out")
    result = RUNNER.invoke(app, ["compare", out, out, "--json"])
    found = json.loads(result.stdout)
    assert found["same"] == 1
    assert (found["gained"], found["lost"], found["moved"]) == ([], [], [])
    assert "0 gained, 0 lost, 0 moved" in RUNNER.invoke(app, ["compare", out, out]).stdout


@pytest.mark.slow
def test_an_unsorted_file_is_refused_with_the_command_that_sorts_it(tmp_path: Path) -> None:
    if not app.registered_commands:
        verbs.register(app)
    posts = background("A", 3, 10, 1, START_MS)
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"".join(post.to_json() + b"\n" for post in reversed(posts)))
    result = RUNNER.invoke(app, ["backtest", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == 1
    assert "goes back" in str(result.exception)
    assert "sort_by(.event_time_ms" in str(result.exception)
