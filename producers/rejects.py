"""The file of rows that could not be sent: one JSON object a line, with line number, field, value and fix."""

import json
import math
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from pipeline.errors import InvalidRecord
from producers.rows import Line


class RejectFile:
    """Appends refused rows to a file that comes into being with the first one. Use it as a context manager."""

    def __init__(self, path: Path, keep_through_line: int = 0) -> None:
        """Keep what stands there of earlier lines (a run that goes on), drop the rest (those rows come again)."""
        self.path = path
        self._file: IO[str] | None = None
        kept = [line for line in _lines(path) if _number(line) <= keep_through_line]
        if kept:
            path.write_text("".join(kept), "utf-8")
        else:
            path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def flush(self) -> None:
        """Hand everything written so far to the operating system."""
        if self._file is not None:
            self._file.flush()

    def write(self, line: Line, error: InvalidRecord) -> None:
        """Add one refused row."""
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
        row = None if isinstance(line.row, InvalidRecord) else line.row
        refused = {"line": line.number, "reason": error.reason, "field": error.field, "value": error.value, "fix": error.fix}
        text = json.dumps(refused | {"row": row}, ensure_ascii=True, default=str)
        self._file.write(text + "\n")


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines(keepends=True) if path.is_file() else []


def _number(text: str) -> float:
    """Return the number of a refused row; one that was cut off, as a run was killed, comes again in any case."""
    try:
        return int(json.loads(text)["line"])
    except (ValueError, KeyError, TypeError):
        return math.inf
