"""How a benchmark runs from the command line: what it refuses is one line, as with ``groundswell``, and exit code 1."""

import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import GroundswellError


def run(main: Callable[[], None]) -> None:
    """Call ``main``; an error of our own is told without its traceback."""
    try:
        main()
    except GroundswellError as error:
        sys.exit(f"{Path(sys.argv[0]).stem}: {error}")
