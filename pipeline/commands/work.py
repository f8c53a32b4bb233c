"""`work`: score posts and events, and move profiles."""

from typing import Annotated

import typer

from pipeline.commands.options import EncoderChoice, EncoderOption, HomeOption


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(work)


def work(
    device: Annotated[
        str, typer.Option(help="cpu, cuda, cuda:1 …; several with commas, one for each replica in turn. Default: the settings.")
    ] = "",
    replicas: Annotated[int, typer.Option(min=1, help="Processes: one per GPU, or per CPU core.")] = 1,
    encoder: EncoderOption = EncoderChoice.TRANSFORMER,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="End when nothing is left to read.")] = False,
    restart_profiles: Annotated[
        bool,
        typer.Option("--restart-profiles", help="Begin profiles of another model or other half-lives anew, and do not stop."),
    ] = False,
    home: HomeOption = None,
) -> None:
    """Read posts and behaviour events, score them, write scored posts and profiles.

    The first SIGTERM or Ctrl-C finishes what is in flight; the second ends at once and loses nothing either.
    """
    from pipeline.adapters.stopping import stop_on_signals
    from workers.hosting import WorkOptions, run_worker, supervise

    devices = tuple(name.strip() for name in device.split(",") if name.strip())
    options = WorkOptions(home, devices, encoder.value, until_idle, restart_profiles)
    if replicas == 1:
        run_worker(options, 0, stop_on_signals())
    else:
        supervise(options, replicas)
