import pytest

from pipeline.core.shown import clock, counted, printable, utc


@pytest.mark.parametrize(("number", "words"), [(0, "0 events"), (1, "1 event"), (1_234, "1,234 events")])
def test_a_number_agrees_with_its_noun(number: int, words: str) -> None:
    assert counted(number, "event") == words


@pytest.mark.parametrize(("text", "shown"), [("阿里 😀", "阿里 😀"), ("\x1b[2J\n\u202e", "\ufffd[2J\ufffd\ufffd"), ("", "")])
def test_what_commands_a_terminal_is_not_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_time_is_told_in_utc() -> None:
    assert clock(1_704_470_939_999) == "2024-01-05 16:08"
    assert utc(1_704_470_939_999) == "2024-01-05 16:08:59"
