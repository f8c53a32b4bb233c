"""One module per group of verbs of the command line; each has ``register(app)``. Heavy imports stay inside the verbs."""

from importlib import import_module

import typer

PANELS = {
    "See it": ("demo",),
    "The servers on this machine": ("stack", "doctor", "fetch", "provision"),
    "The processes between the servers": ("work", "trends", "notify", "silence"),
    "Records and profiles": ("contracts", "produce", "dlq", "user"),
    "Recorded posts": ("replay", "backtest"),
    "The model": ("encode", "train", "model", "evaluate", "bench"),
}


def register_all(app: typer.Typer) -> None:
    """Add every verb to the command line, under the heading of its panel."""
    for panel, modules in PANELS.items():
        for module in modules:
            verbs, groups = len(app.registered_commands), len(app.registered_groups)
            import_module(f"pipeline.commands.{module}").register(app)
            for verb in app.registered_commands[verbs:]:
                verb.rich_help_panel = panel
            for group in app.registered_groups[groups:]:
                group.rich_help_panel = panel
