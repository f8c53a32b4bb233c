import pytest

from pipeline import errors
from pipeline.errors import Fate, GroundswellError, InvalidRecord, Reason, Unavailable


def leaves(kind: type[GroundswellError]) -> list[type[GroundswellError]]:
    children = kind.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [kind]


@pytest.mark.parametrize("leaf", leaves(GroundswellError), ids=lambda leaf: leaf.__name__)
def test_the_drawing_shows_every_leaf_with_its_fate(leaf: type[GroundswellError]) -> None:
    assert errors.__doc__ is not None
    lines = errors.__doc__.splitlines()
    (line,) = [line for line in lines if leaf.__name__ in line.split()]
    branch = line if leaf.fate is not Fate.STOP else next(x for x in lines if "Stop " in x)
    assert leaf.fate in branch


def test_the_fix_stands_behind_the_message_and_can_be_had_alone() -> None:
    error = Unavailable("nobody listens; at all", "groundswell up")
    assert str(error) == "nobody listens; at all; groundswell up"
    assert (error.message, error.fix) == ("nobody listens; at all", "groundswell up")
    assert (str(Unavailable("late")), Unavailable("late").fix) == ("late", "")
    refused = InvalidRecord(Reason.WRONG_TYPE, "a", "1", "write a string")
    assert (str(refused), refused.fix) == ("wrong_type: a = 1; write a string", "write a string")
