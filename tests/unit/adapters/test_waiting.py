from collections.abc import Callable

import pytest

from pipeline.adapters.waiting import wait_for_answer
from pipeline.errors import Unavailable


def saying(*turns: bool | None) -> Callable[[], bool]:
    """Return a question that is answered as told, the last answer ever after; None is no answer."""
    left = list(turns)

    def ask() -> bool:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is None:
            raise Unavailable("silent")
        return answer

    return ask


def test_a_server_that_is_silent_for_a_moment_is_asked_again() -> None:
    assert wait_for_answer(saying(None, False, None, True), 10, 0.0)


def test_silence_to_the_end_is_told() -> None:
    with pytest.raises(Unavailable, match="silent"):
        wait_for_answer(saying(False, None), 0.05, 0.01)


def test_an_answer_that_stays_the_wrong_one_is_none_of_silence() -> None:
    assert not wait_for_answer(saying(None, False), 0.05, 0.01)
