import pytest

from pipeline.adapters.streams import TopicPartition
from pipeline.commands.dlq import _print_blocks
from pipeline.errors import Reason
from pipeline.events import DeadLetter
from pipeline.jobs.dead_letters import Found, Listed

ESCAPE = "\x1b[2J"


def test_what_a_record_says_of_itself_gives_the_terminal_no_commands(capsys: pytest.CaptureFixture[str]) -> None:
    letter = DeadLetter(
        reason=Reason.DELIVERY_EXHAUSTED,
        field=f"intents.{ESCAPE}",
        value=ESCAPE,
        fix=f"write {ESCAPE}",
        topic="scored",
        partition=0,
        offset=7,
        first_seen_ms=1_700_000_000_000,
        timestamp_ms=1_700_000_000_000,
        payload=b"{}",
    )
    _print_blocks([Listed(Found(letter, TopicPartition("dead-letters", 0), 0), False, "too_large")], 5)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "scored/0/7 intents.\ufffd[2J  delivery_exhausted  first seen 2023-11-14 22:13:20 UTC" in shown
    assert "cannot be sent again: too_large" in shown
