"""`doctor`: what is missing or wrong, why it matters, and the command that mends it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer
from rich.console import Console
from rich.markup import escape

from pipeline import settings as settings_module
from pipeline.clock import wall_clock_ms
from pipeline.commands.options import HomeOption, JsonOption
from pipeline.settings import EncoderSettings, NotifySettings, Settings

if TYPE_CHECKING:
    from infra.findings import Check, Finding
    from infra.home import Home

PACKAGES: Final = {
    "crc32c": "Kafka is read six times slower, and nothing else says so",
    "hiredis": "Redis answers are parsed in Python, several times slower",
}


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command()(doctor)


def doctor(as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Find what is missing or wrong: Java, ports, versions, topics, Redis, model, GPU, disk, clock. Exit code 1 for an error."""
    from infra.findings import Level

    with Console(stderr=True).status("looking"):
        found = _look(home)
    findings = [each for several in found.values() for each in several]
    healthy = not any(each.level is Level.ERROR for each in findings)
    if as_json:
        report = {"ok": healthy, "checks": list(found), "findings": [each.as_dict() for each in findings]}
        typer.echo(json.dumps(report))
    else:
        _show(found)
    if not healthy:
        raise typer.Exit(1)


def _look(home: Path | None) -> "dict[str, list[Finding]]":
    """Examine everything, or nothing but the settings where they cannot be read."""
    from infra.findings import Check, examine
    from infra.home import Home

    unread = examine([Check("settings", lambda: check_settings(home))])
    if unread["settings"]:
        return unread
    settings = settings_module.load(home)
    return unread | examine(checks(Home(settings.home), settings))


def check_settings(home: Path | None) -> "Iterator[Finding]":
    """Look whether every variable of the environment that names a setting has a valid value."""
    settings_module.load(home)
    yield from ()


def checks(home: "Home", settings: Settings) -> "list[Check]":
    """Return everything the doctor looks at, in the order in which it should be mended."""
    from infra import check_machine as machine
    from infra import check_servers as servers
    from infra.findings import Check
    from infra.runtime import java_candidates
    from infra.stack import running_cluster

    cluster, (disk, memory) = running_cluster(home), machine.needs(home)
    looks = [
        Check("environment", machine.check_environment),
        Check("java", lambda: machine.check_java(java_candidates())),
        Check("packages", lambda: machine.check_packages(PACKAGES)),
        Check("jars", lambda: machine.check_jars(settings.cache)),
        Check("flink-python", lambda: machine.check_flink_python(settings.cache)),
        Check("redis-server", machine.check_redis_server),
        Check("disk", lambda: machine.check_disk(settings.home, disk)),
        Check("memory", lambda: machine.check_memory(memory)),
        Check("home", lambda: machine.check_home(home)),
        Check("ports", lambda: machine.check_ports(home, settings.stack)),
        Check("processes", lambda: machine.check_processes(home)),
        Check("model", lambda: check_model(settings.encoder, settings.cache)),
        Check("gpu", lambda: check_gpu(settings.encoder)),
        Check("webhooks", lambda: check_webhooks(settings.notify)),
        Check("kafka", lambda: servers.check_kafka(settings.kafka)),
        Check("redis", lambda: check_redis_at(settings.redis.url.get_secret_value(), local="redis" in home.started())),
    ]
    if "flink-jobmanager" in home.started() and cluster is not None:
        looks.append(Check("flink", lambda: servers.check_flink(cluster.rest_url)))
    return looks


def check_model(encoder: EncoderSettings, cache: Path) -> "Iterator[Finding]":
    """Look whether the encoder's weights are there and unaltered."""
    from infra.findings import error
    from pipeline.errors import ModelError
    from workers.model import model_store

    try:
        model_store.verified(encoder.model, cache)
    except ModelError as problem:
        yield error("model", str(problem), "groundswell model fetch")


def check_gpu(encoder: EncoderSettings) -> "Iterator[Finding]":
    """Look whether a GPU that the settings ask for is there."""
    from infra.findings import error
    from infra.gpu import cuda_devices

    if encoder.device.startswith("cuda"):
        devices = cuda_devices()
        wanted = int(encoder.device.partition(":")[2] or 0)
        if wanted >= devices:
            what = f"device {encoder.device} is asked for, and this machine has {devices} CUDA devices"
            yield error("gpu", what, "export GROUNDSWELL_ENCODER__DEVICE=auto")


def check_webhooks(notify: NotifySettings) -> "Iterator[Finding]":
    """Look whether every endpoint has a usable address and secret."""
    from infra.findings import error
    from pipeline.commands.notify import make_receivers
    from pipeline.errors import ConfigurationError

    try:
        make_receivers(notify)
    except ConfigurationError as problem:
        yield error("webhooks", problem.message, f"{problem.fix}, in GROUNDSWELL_NOTIFY__ENDPOINTS")


def check_redis_at(url: str, *, local: bool = False) -> "Iterator[Finding]":
    """Look at Redis and at its clock."""
    from infra import check_servers as servers
    from pipeline.adapters.redis_admin import facts

    found = facts(url)
    yield from servers.check_redis(found, local=local)
    yield from servers.check_clock("Redis", found.time_ms, wall_clock_ms())


def _show(found: "dict[str, list[Finding]]") -> None:
    console = Console()
    for name, findings in found.items():
        if not findings:
            console.print(f"[green]ok[/]       {name}", highlight=False)
        for each in findings:
            colour = "red" if each.level == "error" else "yellow"
            console.print(f"[{colour}]{each.level:<8}[/] {each.check}: {escape(each.message)}", highlight=False, soft_wrap=True)
            console.print(f"         fix: [bold]{escape(each.fix)}[/]", highlight=False, soft_wrap=True)
