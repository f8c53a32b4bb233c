import pytest

from pipeline import errors
from pipeline.errors import Fate, GroundswellError


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
