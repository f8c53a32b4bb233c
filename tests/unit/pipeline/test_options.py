from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipeline import commands
from pipeline.commands.options import parse_speed
from pipeline.errors import ConfigurationError


def test_a_speed_is_a_number_above_0_or_max() -> None:
    assert [parse_speed(text) for text in ("max", "1", "0.5", "60")] == [None, 1.0, 0.5, 60.0]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "fast", ""])
def test_any_other_speed_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write a number above 0, or max"):
        parse_speed(text)


@pytest.mark.parametrize("days", ["inf", "nan", "1e300"])
def test_a_warm_up_is_a_number_of_days(days: str, tmp_path: Path) -> None:
    app = typer.Typer()
    commands.register_all(app)
    answer = CliRunner().invoke(app, ["replay", "unread.jsonl", "--out", str(tmp_path), "--warm-up", days])
    assert answer.exit_code == 2
    assert "Invalid value for '--warm-up'" in answer.output


def test_up_refuses_an_unknown_encoder_before_it_starts_anything() -> None:
    app = typer.Typer()
    commands.register_all(app)
    answer = CliRunner().invoke(app, ["up", "--encoder", "golden"])
    assert answer.exit_code == 2
    assert "golden" in answer.output
