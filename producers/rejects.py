"""The file of rows that could not be sent: one JSON object a line, with line number, field, value and fix."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from pipeline.adapters.files import published_file, refuse_unwritable
from pipeline.errors import ConfigurationError, InvalidRecord
from producers.rows import Line

BEGIN: Final = '{"line": '  # of every line


class RejectFile:
    """Appends refused rows to a file that comes into being with the first one. Use it as a context manager.

    Raises ConfigurationError for a file that cannot be written, and for one that holds other things.
    """

    def __init__(self, path: Path, keep_through_line: int = 0) -> None:
        """Keep what stands there of earlier lines (a run that goes on), drop the rest (those rows come again)."""
        self.path = path
        self._file: IO[str] | None = None
        refuse_unwritable(path.parent)
        with _writing(path):
            lines = _lines(path)
            kept = [line for line in lines if _number(line) <= keep_through_line]
            if lines and not kept:
                path.unlink()
        if kept:
            with published_file(path) as scratch:
                scratch.write_text("".join(kept), "utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            with _writing(self.path):
                self._file.close()

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        if self._file is not None:
            with _writing(self.path):
                self._file.flush()

    def write(self, line: Line, error: InvalidRecord) -> None:
        """Add one refused row."""
        row = None if isinstance(line.row, InvalidRecord) else line.row
        refused = {"line": line.number, "reason": error.reason, "field": error.field, "value": error.value, "fix": error.fix}
        text = json.dumps(refused | {"row": row}, ensure_ascii=True, default=str)
        with _writing(self.path):
            if self._file is None:
                self._file = self.path.open("a", encoding="utf-8")
            self._file.write(text + "\n")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fix = "make room, or name another file with --rejects"
        raise ConfigurationError(f"refused rows cannot be written to {path} ({error.strerror or error}); {fix}") from error


def _lines(path: Path) -> list[str]:
    """Return the lines of refused rows. Raises ConfigurationError for any other file, which the refused rows would replace."""
    if not path.is_file() and not path.is_dir():
        return []  # nothing yet, or a device or a pipe, which takes what comes
    lines = path.read_bytes().decode("utf-8", "replace").splitlines(keepends=True)
    if not all(BEGIN.startswith(line[: len(BEGIN)]) for line in lines):  # the last one may be cut off
        raise ConfigurationError(f"--rejects {path} holds what are no refused rows, and would be replaced; name another file")
    return lines


def _number(text: str) -> float:
    """Return the number of a refused row; one that was cut off, as a run was killed, comes again in any case."""
    try:
        return int(json.loads(text)["line"])
    except (ValueError, KeyError, TypeError):
        return math.inf
