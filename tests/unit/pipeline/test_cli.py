import errno
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pkgutil import iter_modules

import pytest
import typer
from typer.testing import CliRunner

from pipeline import cli, commands
from pipeline.errors import ConfigurationError


def ended(error: str | OSError, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise error if isinstance(error, OSError) else ConfigurationError(error)

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(commands, "register_all", lambda _: None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1


@pytest.mark.parametrize(
    "error", ["user '[/x]' has no profile", "[Errno 2] of [bold]it", "sort the file: " + "zcat a | jq -c " * 20 + "| gzip"]
)
def test_an_error_is_one_line_as_it_is_whatever_it_quotes(
    error: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(error, monkeypatch)
    assert capsys.readouterr().err == f"groundswell: {error}\n"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "a file cannot be written (No space left on device); make room"),
        (OSError(errno.EROFS, "Read-only file system", "/x/job.json"), "/x/job.json cannot be written (Read-only file system)"),
    ],
)
def test_a_disk_that_takes_nothing_is_one_line_whoever_meets_it(
    error: OSError, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(error, monkeypatch)
    assert capsys.readouterr().err.startswith(f"groundswell: {told}")


def test_a_misspelt_variable_is_told_beside_the_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GROUNDSWELL_LOGLEVEL", "DEBUG")
    monkeypatch.setattr(cli, "app", lambda: typer.echo("{}"))
    monkeypatch.setattr(commands, "register_all", lambda _: None)
    cli.main()
    shown = capsys.readouterr()
    assert shown.out == "{}\n"
    assert shown.err == "groundswell: GROUNDSWELL_LOGLEVEL is no setting and has no effect; unset GROUNDSWELL_LOGLEVEL\n"


def test_the_version_is_that_of_the_distribution() -> None:
    answer = CliRunner().invoke(cli.app, ["--version"])
    assert (answer.exit_code, answer.output) == (0, f"groundswell {version('groundswell')}\n")


def test_every_module_of_verbs_stands_in_one_panel() -> None:
    modules = [each.name for each in iter_modules(commands.__path__)]
    with_verbs = [name for name in modules if hasattr(import_module(f"pipeline.commands.{name}"), "register")]
    assert sorted(name for panel in commands.PANELS.values() for name in panel) == sorted(with_verbs)


@pytest.mark.slow
def test_registering_the_verbs_loads_nothing_heavy() -> None:
    heavy = {"numpy", "kafka", "redis", "torch", "pyarrow", "matplotlib"}
    register = "import sys, typer; from pipeline import commands; commands.register_all(typer.Typer())"
    script = f"{register}; print({heavy} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "set()\n"
