"""`dlq`: look at dead letters, and send them again."""

import json
from collections import Counter
from contextlib import closing
from threading import Event
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import settings as settings_module
from pipeline.adapters.stopping import interrupting
from pipeline.commands.options import HomeOption, JsonOption
from pipeline.errors import Reason
from pipeline.topics import DEAD_LETTERS

if TYPE_CHECKING:
    from pipeline.jobs.dead_letters import Listed

SHOWN = 100
OnlyReason = Annotated[Reason | None, typer.Option("--reason", help="Only dead letters of this reason.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    group = typer.Typer(help="Dead letters: what could not be used, why, and how to mend it.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("redrive")(redrive)
    app.add_typer(group, name="dlq")


def list_(
    reason: OnlyReason = None,
    limit: Annotated[int | None, typer.Option(min=1, show_default="100; with --json all", help="Show at most so many.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the distinct dead letters: where each came from, which field is wrong, how to mend it. JSON is one array."""
    from pipeline.adapters.kafka_reader import KafkaCursors, KafkaReader
    from pipeline.jobs.dead_letters import listing

    kafka = settings_module.load(home).kafka
    found = listing(KafkaReader(kafka), KafkaCursors(kafka), DEAD_LETTERS.full_name(kafka.topic_prefix), reason)
    if as_json:
        typer.echo(json.dumps([_as_dict(each) for each in found[:limit]], ensure_ascii=False))
    else:
        _print_blocks(found, limit or SHOWN)


def redrive(
    reason: OnlyReason = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send dead letters again to the topics they came from, as they were; each distinct one once."""
    from pipeline.adapters.kafka_reader import KafkaCursors, KafkaReader
    from pipeline.adapters.kafka_sink import KafkaSink
    from pipeline.jobs.dead_letters import Redrive, listing

    kafka = settings_module.load(home).kafka
    topic = DEAD_LETTERS.full_name(kafka.topic_prefix)
    reader, cursors = KafkaReader(kafka), KafkaCursors(kafka)
    if dry_run:
        found = listing(reader, cursors, topic, reason)
        already, refused = sum(each.redriven for each in found), sum(bool(each.refused) for each in found)
        would_send = len(found) - already - refused
        counts = {"distinct": len(found), "would_send": would_send, "already": already, "refused": refused}
    else:
        with interrupting(Event()) as stop, closing(KafkaSink(kafka)) as sink:
            counts = Redrive(reader, cursors, sink, topic).run(reason, stop).as_dict()
    typer.echo(json.dumps(counts) if as_json else ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in counts.items()))


def _as_dict(each: "Listed") -> dict[str, Any]:
    letter = each.found.letter
    return {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "reason": letter.reason,
        "field": letter.field,
        "value": letter.value,
        "fix": letter.fix,
        "first_seen_ms": letter.first_seen_ms,
        "timestamp_ms": letter.timestamp_ms,
        "key": None if letter.key is None else letter.key.decode("utf-8", "replace"),
        "payload": letter.payload[: letter.MAX_VALUE_CHARS].decode("utf-8", "replace"),
        "redriven": each.redriven,
        "refused": each.refused or None,
    }


def _print_blocks(found: "list[Listed]", limit: int) -> None:
    from pipeline.core.shown import printable, utc

    for each in found[:limit]:
        letter = each.found.letter
        seen = utc(letter.first_seen_ms)
        origin = printable(each.found.origin)
        typer.echo(f"{origin}  {letter.reason}  first seen {seen} UTC{'  (sent again)' if each.redriven else ''}")
        typer.echo(f"    {printable(letter.field)} = {letter.value!r}")
        typer.echo(f"    {printable(letter.fix)}")
        if each.refused:
            typer.echo(f"    cannot be sent again: {each.refused}")
    by_reason = Counter(each.found.letter.reason for each in found)
    summary = ", ".join(f"{reason} {count}" for reason, count in by_reason.most_common())
    typer.echo(f"{len(found)} dead letters" + (f" ({summary})" if found else "") + f", {min(limit, len(found))} shown")
