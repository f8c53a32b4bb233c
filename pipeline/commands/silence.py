"""`silence`: alerts that nobody is to be told of for a while."""

import json
import re
from collections import Counter
from contextlib import closing
from getpass import getuser
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from pipeline import settings as settings_module
from pipeline.clock import wall_clock_ms
from pipeline.commands.options import HomeOption, JsonOption, parse_time, require_text
from pipeline.errors import ConfigurationError
from pipeline.settings import NotifySettings, Settings

if TYPE_CHECKING:
    from pipeline.adapters.delivery_log import DeliveryLog
    from pipeline.adapters.redis_delivery_log import RedisDeliveryLog
    from pipeline.core.silences import Silence

UNITS_S: Final = {"m": 60, "h": 3_600, "d": 86_400}
SilenceId = Annotated[str, typer.Argument(metavar="ID", help="As `silence list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    group = typer.Typer(help="Silences: alerts that nobody is to be told of for a while.", no_args_is_help=True)
    for verb in (add, list_, expire):
        group.command(verb.__name__.rstrip("_"))(verb)
    app.add_typer(group, name="silence")


def add(
    matchers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FIELD=VALUE...", help="Of entity, rule, severity, alert_id; != is not, * and ? as in file names."
        ),
    ] = None,
    comment: Annotated[str, typer.Option(help="Why, for whoever wonders later.")] = "",
    author: Annotated[str, typer.Option(help="Who; without it, the name you are logged in by.")] = "",
    lasts: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 3d; without it, 1h.")] = "",
    between: Annotated[
        tuple[str, str] | None, typer.Option("--between", metavar="START END", help="In place of --for: two times, in UTC.")
    ] = None,
    home: HomeOption = None,
) -> None:
    """Send no webhook for alerts that all matchers match, from now on, or between two times.

    When it is over, each alert it held back is sent with its newest step, if it is still open or was told before.
    """
    from pipeline.core.silences import make_silence

    if lasts and between:
        raise ConfigurationError("--for and --between both say when it ends; drop one")
    for text in (*(matchers or ()), author, comment):
        require_text(text)
    now_ms = wall_clock_ms()
    span_ms = _span(between) if between else (now_ms, now_ms + 1000 * _seconds(lasts or "1h"))
    silence = make_silence(matchers or (), author or _login(), comment, span_ms, now_ms)
    with closing(_connect(settings_module.load(home))) as log:
        log.set_silence(silence)
    typer.echo(_line(silence, now_ms))


def list_(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show the silences, a day beyond their end, and how many alerts each holds back at the endpoints that are set here."""
    from pipeline.core.shown import counted

    settings, now_ms = settings_module.load(home), wall_clock_ms()
    with closing(_connect(settings)) as log:
        silences = sorted(log.silences(), key=lambda silence: (silence.ends_at_ms, silence.silence_id))
        held = _held(log, silences, settings.notify, now_ms)
    if as_json:
        typer.echo(json.dumps([_as_dict(each, held, now_ms) for each in silences], ensure_ascii=False))
        return
    for silence in silences:
        holds = f"  holds {held[silence.silence_id]}" if silence.silence_id in held else ""
        typer.echo(_line(silence, now_ms) + holds)
    typer.echo(counted(len(silences), "silence"))


def expire(silence_id: SilenceId, home: HomeOption = None) -> None:
    """End a silence now."""
    with closing(_connect(settings_module.load(home))) as log:
        found = next((each for each in log.silences() if each.silence_id == silence_id), None)
        if found is None:
            raise ConfigurationError(f"no silence is called {silence_id!r}; run: groundswell silence list")
        ended = found.ended(wall_clock_ms())
        log.set_silence(ended)
    typer.echo(_line(ended, wall_clock_ms()))


def _connect(settings: Settings) -> "RedisDeliveryLog":
    from pipeline.adapters.redis_delivery_log import RedisDeliveryLog

    return RedisDeliveryLog.connect(settings.redis.url.get_secret_value(), settings.redis.key_prefix)


def _held(log: "DeliveryLog", silences: "list[Silence]", notify: NotifySettings, now_ms: int) -> Counter[str]:
    """Return how many alerts each silence holds back; nothing for those that hold none."""
    from pipeline.commands.notify import make_receivers
    from pipeline.core.silences import silenced_by
    from pipeline.events import Alert

    deliveries = (delivery for receiver in make_receivers(notify) for delivery in log.held(receiver.endpoint))
    found = (silenced_by(silences, Alert.model_validate_json(delivery.value), now_ms) for delivery in deliveries)
    return Counter(silence.silence_id for silence in found if silence is not None)


def _line(silence: "Silence", now_ms: int) -> str:
    from pipeline.core.shown import clock, printable

    span = f"{clock(silence.starts_at_ms)} to {clock(silence.ends_at_ms)} UTC"
    matchers = " ".join(map(str, silence.matchers))
    said = f"{silence.silence_id}  {silence.state(now_ms):<7}  {span}  {matchers}  {silence.author}: {silence.comment}"
    return printable(said)


def _as_dict(silence: "Silence", held: Counter[str], now_ms: int) -> dict[str, Any]:
    shown = {"state": str(silence.state(now_ms)), "matchers": [str(each) for each in silence.matchers]}
    return silence.model_dump(mode="json") | shown | {"held": held[silence.silence_id]}


def _span(between: tuple[str, str]) -> tuple[int, int]:

    start, end = between
    return parse_time(start), parse_time(end)


def _seconds(text: str) -> int:
    found = re.fullmatch(r"([1-9]\d{0,5})([mhd])", text)
    if found is None:
        raise ConfigurationError(f"--for {text!r}: write a number of minutes, hours or days, as in 30m, 2h or 3d")
    return int(found[1]) * UNITS_S[found[2]]


def _login() -> str:
    try:
        return getuser()
    except (KeyError, OSError, ImportError):  # a container may know no name for its user
        raise ConfigurationError("nobody is logged in by a name here; say who silences: --author NAME") from None
