import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import typer
from typer.testing import CliRunner

from pipeline.commands import demo

LINE = {"event_id": "1", "event_time_ms": 1_400_000_000_000, "entity": "AAPL", "author_id": "a", "text": "Apple is great"}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[typer.Typer]:
    monkeypatch.setenv("GROUNDSWELL_HOME", str(tmp_path / "home"))
    logging = structlog.get_config()
    app = typer.Typer()
    demo.register(app)
    yield app
    structlog.configure(**logging)  # the verb sent the logs to a stream that the runner has closed since


def test_recorded_posts_with_a_single_entity_run_without_a_map(app: typer.Typer, tmp_path: Path) -> None:
    posts, out = tmp_path / "posts.jsonl", tmp_path / "out"
    posts.write_text(
        "".join(json.dumps(LINE | {"event_id": str(n), "event_time_ms": 1_400_000_000_000 + n}) + "\n" for n in range(9))
    )
    arguments = ["--out", str(out), "--seed", "1", "--no-live", "--posts", str(posts), "--encoder", "fake"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["accepted"], summary["scored"], summary["profiles"], summary["alerts"]) == (9, 9, 1, 0)
    assert "all accounted for" in result.output


def no_encoder(*_: object) -> None:
    raise AssertionError("the encoder takes long to load; what cannot be used is told before")


@pytest.mark.parametrize(
    ("out", "posts", "told"), [("out", "absent.jsonl", "absent.jsonl"), ("file", None, "--out"), ("file/out", None, "--out")]
)
def test_what_cannot_be_read_or_written_is_told_before_the_encoder_is_loaded(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, posts: str | None, told: str
) -> None:
    monkeypatch.setattr(demo, "_encoder", no_encoder)
    (tmp_path / "file").write_text("no folder")
    arguments = ["--out", str(tmp_path / out), *(["--posts", str(tmp_path / posts)] if posts else [])]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert told in str(result.exception)


def test_a_run_that_fails_leaves_no_summary_of_an_earlier_one(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text("{}")
    arguments = ["--out", str(tmp_path), "--posts", str(tmp_path / "absent.jsonl"), "--encoder", "fake"]
    assert CliRunner().invoke(app, arguments).exit_code == 1
    assert not (tmp_path / "summary.json").exists()
