"""`user get` and `user forget`: what is known of one user, and the end of it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline import settings as settings_module
from pipeline.clock import wall_clock_ms
from pipeline.commands.options import HomeOption, JsonOption, require_text
from pipeline.errors import ConfigurationError
from pipeline.times import DAY_MS

if TYPE_CHECKING:
    from pipeline.adapters.redis_store import RedisProfileStore
    from pipeline.core.rolling import Family, Profile

SHOWN_ITEMS = 10

app = typer.Typer(no_args_is_help=True, help="What is known of one user.")
UserId = Annotated[str, typer.Argument(metavar="ID", help="The user's or author's id.", callback=require_text)]


def register(parent: typer.Typer) -> None:
    """Add the verbs of this module."""
    parent.add_typer(app, name="user")


@app.command()
def get(user_id: UserId, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Show a user's profile: vector norm, mass per half-life, recent items. Exit code 1 where there is none."""
    with _store(home) as store:
        profile = store.get(user_id)
    if profile is None:
        raise ConfigurationError(f"user {user_id!r} has no profile; ids are case-sensitive, and events take a moment to arrive")
    document = describe(user_id, profile, wall_clock_ms())
    if as_json:
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        _show(document)


@app.command()
def forget(user_id: UserId, as_json: JsonOption = False, home: HomeOption = None) -> None:
    """Remove every trace of a user. A replay does not bring the user back; later events count again."""
    with _store(home) as store:
        existed = store.forget(user_id, wall_clock_ms())
    if as_json:
        typer.echo(json.dumps({"user_id": user_id, "existed": existed}, ensure_ascii=False))
        return
    what = "is forgotten" if existed else "had no profile"
    typer.echo(
        f"{user_id} {what}; events up to now never count again. The topics keep their records as long as they retain them."
    )


def describe(user_id: str, profile: "Profile", now_ms: int) -> dict[str, Any]:
    """Return a profile as plain values. Masses are in events of weight 1; 0.5 is one such event a half-life ago."""
    from pipeline.core.rolling import serving_vector

    vector = serving_vector(profile)
    return {
        "user_id": user_id,
        "model_revision": profile.model_revision,
        "events": profile.events,
        "last_event_ms": profile.last_event_ms,
        "vector_norm": round(float((vector @ vector) ** 0.5), 6),
        "half_lives": [_describe_family(family, profile, now_ms) for family in profile.families],
        "recent": [item._asdict() for item in reversed(profile.recents)],
    }


def _describe_family(family: "Family", profile: "Profile", now_ms: int) -> dict[str, float]:
    from pipeline.core.rolling import concentration, mass_at

    share = concentration(family, profile.dimensions)
    mass = mass_at(family, profile.last_event_ms)
    return {
        "days": family.half_life_ms / DAY_MS,
        "norm": round(share * mass, 6),
        "mass": round(mass, 6),
        "mass_now": round(mass_at(family, now_ms), 6),
        "concentration": round(share, 6),
        "buckets": len(family.buckets),
    }


def _show(document: dict[str, Any]) -> None:
    from pipeline.core.shown import counted, printable, utc

    console = Console(highlight=False)
    head = f"{counted(document['events'], 'event')}, the last at {utc(document['last_event_ms'])} UTC"
    console.print(Text.assemble((printable(document["user_id"]), "bold"), f"  {head}"))
    console.print(f"vector space {document['model_revision']}, vector norm {document['vector_norm']:g}")
    masses = Table("half-life", "mass", "mass now", "norm", "concentration")
    for one in document["half_lives"]:
        masses.add_row(
            f"{one['days']:g} d",
            f"{one['mass']:.3f}",
            f"{one['mass_now']:.3f}",
            f"{one['norm']:.3f}",
            f"{one['concentration']:.3f}",
        )
    console.print(masses)
    items = Table("when (UTC)", "action", "item", "text")
    for item in document["recent"][:SHOWN_ITEMS]:
        shown = (Text(printable(item[name])) for name in ("item_id", "title"))
        items.add_row(utc(item["event_time_ms"]), item["action"], *shown)
    console.print(items)


@contextmanager
def _store(home: Path | None) -> "Iterator[RedisProfileStore]":
    from pipeline.adapters.redis_store import RedisProfileStore, connect

    settings = settings_module.load(home)
    client = connect(settings.redis.url.get_secret_value())
    store = RedisProfileStore(client, settings.redis.key_prefix, settings.profiles.idle_ttl_days)
    try:
        yield store
    finally:
        store.close()
