import io
import sys

import pytest

from pipeline.commands.progress import Lines, counting, duration, telling


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_lines_come_at_once_then_now_and_then_and_at_the_end() -> None:
    lines: list[str] = []
    clock = Clock()
    teller = Lines("training", "steps", lines.append, clock)
    for step in range(41):
        clock.now_s = float(step)
        teller.show(step, 40, f"loss {step}" if step else "")
    teller.show(40, 40, "and a note at once after the end")
    assert lines == [
        "training: 0 of 40 steps",
        "training: 15 of 40 steps, 1/s, 25 s left; loss 15",
        "training: 30 of 40 steps, 1/s, 10 s left; loss 30",
        "training: 40 of 40 steps, 1/s; loss 40",
    ]


def test_what_was_done_before_a_restart_does_not_count_as_speed() -> None:
    lines: list[str] = []
    clock = Clock()
    teller = Lines("training", "steps", lines.append, clock)
    teller.show(1_000, 2_000, "loading")
    clock.now_s = 500.0
    teller.show(1_000, 2_000, "loaded")
    clock.now_s = 520.0
    teller.show(1_010, 2_000)
    assert lines[-1] == "training: 1,010 of 2,000 steps, 0.5/s, 33 min left"


def test_a_count_that_begins_again_has_a_speed_of_its_own() -> None:
    lines: list[str] = []
    clock = Clock()
    teller = Lines("training", "steps", lines.append, clock)
    for now_s, done in ((0.0, 0), (100.0, 200), (120.0, 1), (140.0, 21)):
        clock.now_s = now_s
        teller.show(done, 2_001)
    assert lines[-1] == "training: 21 of 2,001 steps, 1/s, 33 min left"


def test_without_a_terminal_progress_is_lines_on_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", said := io.StringIO())
    with counting("a.jsonl", "texts", 30) as advance:
        advance(10)
        advance(20)
    with telling("train", "steps") as teller:
        teller.tell("[data] hashes are " + "x" * 100)
    assert said.getvalue().splitlines()[0].startswith("a.jsonl: 10 of 30 texts")
    assert said.getvalue().splitlines()[1].startswith("a.jsonl: 30 of 30 texts")
    assert said.getvalue().splitlines()[2] == "[data] hashes are " + "x" * 100


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (99, "99 s"), (130, "2 min"), (11_100, "3 h 5 min")])
def test_durations_are_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said
