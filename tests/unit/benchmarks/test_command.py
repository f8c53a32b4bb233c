"""How benchmarks end: one line and an exit code, no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import command
from pipeline.errors import ConfigurationError


@pytest.mark.parametrize(("raised", "code"), [(ConfigurationError("no such file"), "no such file"), (KeyboardInterrupt(), 130)])
def test_what_is_refused_or_interrupted_ends_in_one_line(
    raised: BaseException, code: str | int, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise raised

    with pytest.raises(SystemExit) as ended:
        command.run(main)
    assert str(ended.value.code).endswith(str(code))
    assert ("interrupted" in capsys.readouterr().err) == (code == 130)


@pytest.mark.parametrize("words", [["trends", "--no-flink"], ["injection"], ["nab"]])
def test_posts_that_are_not_there_are_named_in_one_line(words: list[str]) -> None:
    option = "--counts" if words == ["nab"] else "--posts"
    absent = [*words[1:], option, "absent.jsonl"]
    ended = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{words[0]}", *absent],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "absent.jsonl" in ended.stderr
