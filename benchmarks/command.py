"""How a benchmark runs from the command line: what it refuses is one line, as with ``groundswell``, and exit code 1.

So is an interruption, with the exit code of one, 130.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import GroundswellError

INTERRUPTED = 130


def run(main: Callable[[], None]) -> None:
    """Call ``main``; an error of our own, or Ctrl+C, is told without its traceback."""
    name = Path(sys.argv[0]).stem
    try:
        main()
    except GroundswellError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
