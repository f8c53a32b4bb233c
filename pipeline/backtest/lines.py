"""JSON lines, plain or gzipped: reading with line numbers, writing whole."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.adapters.files import published_file
from pipeline.errors import ConfigurationError
from pipeline.replay.recorded import open_lines


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) of every line that is not blank."""
    with open_lines(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ConfigurationError(f"{path} line {number} is not JSON: {error}") from None
            if not isinstance(row, dict):
                raise ConfigurationError(f"{path} line {number} is not an object; expected one JSON object a line")
            yield number, row


def write_lines(path: Path, rows: Iterable[bytes]) -> None:
    """Write the lines and move the file into place, so that an interrupted run leaves no half file."""
    with published_file(path) as scratch, gzip.open(scratch, "wb") if path.suffix == ".gz" else scratch.open("wb") as out:
        for row in rows:
            out.write(row + b"\n")
