"""`dlq`: look at dead letters, and send them again."""

import typer


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
