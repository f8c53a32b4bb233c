from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipeline import commands
from pipeline.commands.options import parse_speed, parse_time, require_text
from pipeline.errors import ConfigurationError
from tests.unit.core.streams import DAY_MS


def test_a_speed_is_a_number_above_0_or_max() -> None:
    assert [parse_speed(text) for text in ("max", "1", "0.5", "60")] == [None, 1.0, 0.5, 60.0]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast", ""])
def test_any_other_speed_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write a number above 0, or max"):
        parse_speed(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2014-07-01", 1404172800000), ("2014-07-01T02:00+02:00", 1404172800000), ("1404172800000", 1404172800000)],
)
def test_times_are_dates_or_milliseconds(text: str, expected: int) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", ["yesterday", "1404172800", "2214-01-01"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        parse_time(text)


def test_a_day_has_as_many_milliseconds_as_the_streams_say() -> None:
    assert parse_time("2014-07-02") - parse_time("2014-07-01") == DAY_MS


def test_a_synthetic_world_begins_at_a_time_that_a_record_may_have(tmp_path: Path) -> None:
    app = typer.Typer()
    commands.register_all(app)
    asked = ["produce", "synthetic", "--start", "1970-01-01", "--out", str(tmp_path / "posts.jsonl")]
    answer = CliRunner().invoke(app, asked)
    assert isinstance(answer.exception, ConfigurationError)
    assert "'1970-01-01' lies outside 2000 to 2100" in str(answer.exception)
    assert not list(tmp_path.iterdir())


def test_what_is_no_utf_8_is_refused_before_anything_is_asked() -> None:
    assert require_text("ü") == "ü"
    for verb in (["user", "get", "a\udcff"], ["silence", "add", "entity=a\udcff", "--comment", "x"]):
        app = typer.Typer()
        commands.register_all(app)
        answer = CliRunner().invoke(app, verb)
        assert isinstance(answer.exception, ConfigurationError)
        assert "is no UTF-8" in str(answer.exception)


@pytest.mark.parametrize("days", ["inf", "nan", "1e300"])
def test_a_warm_up_is_a_number_of_days(days: str, tmp_path: Path) -> None:
    app = typer.Typer()
    commands.register_all(app)
    answer = CliRunner().invoke(app, ["replay", "unread.jsonl", "--out", str(tmp_path), "--warm-up", days])
    assert answer.exit_code == 2
    assert "Invalid value for '--warm-up'" in answer.output


def test_a_replay_that_could_not_be_written_scores_nothing(tmp_path: Path) -> None:
    posts, taken = tmp_path / "raw.jsonl", tmp_path / "taken"
    posts.write_text('{"event_id": "1", "event_time_ms": 1388534400000, "author_id": "a", "entity": "A", "text": "crash"}\n')
    taken.touch()
    app = typer.Typer()
    commands.register_all(app)
    answer = CliRunner().invoke(app, ["replay", str(posts), "--out", str(taken), "--encoder", "fake"])
    assert "cannot be written" in str(answer.exception)
    assert set(tmp_path.iterdir()) == {posts, taken}


def test_up_refuses_an_unknown_encoder_before_it_starts_anything() -> None:
    app = typer.Typer()
    commands.register_all(app)
    answer = CliRunner().invoke(app, ["up", "--encoder", "golden"])
    assert answer.exit_code == 2
    assert "golden" in answer.output
