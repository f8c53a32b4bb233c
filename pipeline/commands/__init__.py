"""One module per group of verbs of the command line; each has ``register(app)``. Heavy imports stay inside the verbs."""

from importlib import import_module

import typer

GROUPS = (
    "backtest",
    "bench",
    "contracts",
    "demo",
    "dlq",
    "doctor",
    "encode",
    "evaluate",
    "fetch",
    "model",
    "notify",
    "produce",
    "provision",
    "replay",
    "stack",
    "train",
    "trends",
    "user",
    "work",
)


def register_all(app: typer.Typer) -> None:
    """Add every verb to the command line."""
    for group in GROUPS:
        import_module(f"pipeline.commands.{group}").register(app)
