"""The one entry point: ``groundswell VERB``. Each group of verbs registers itself from ``pipeline.commands``."""

import errno
import sys
from importlib.metadata import version
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from pipeline import commands
from pipeline.environment import unknown_variables
from pipeline.errors import GroundswellError

FULL_OR_CLOSED: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of a disk; any verb may meet it anywhere

app = typer.Typer(
    name="groundswell",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"groundswell {version('groundswell')}")
        raise typer.Exit


@app.callback()
def options(
    print_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Clickstream and social text into live user vectors, sentiment trends and alerts."""


def main() -> None:
    """Run the command line; an error of our own becomes one line and exit code 1."""
    commands.register_all(app)
    for name in unknown_variables():
        typer.echo(f"groundswell: {name} is no setting and has no effect; unset {name}", err=True)
    try:
        app()
    except GroundswellError as error:
        _end_with(str(error))
    except OSError as error:
        if error.errno not in FULL_OR_CLOSED:
            raise
        _end_with(f"{error.filename or 'a file'} cannot be written ({error.strerror}); make room, or choose another folder")


def _end_with(message: str) -> NoReturn:
    told = Text.assemble(("groundswell:", "bold red"), f" {message}")  # the message may quote anything, markup too
    Console(stderr=True).print(told, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
