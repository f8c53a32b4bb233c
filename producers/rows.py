"""Rows of a file, whatever it is: JSON lines, CSV or Parquet, plain or gzipped. One row at a time, with its line number."""

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from pydantic_core import from_json

from pipeline.errors import ConfigurationError, InvalidRecord, Reason

MAX_CELL_CHARS: Final = 4_000_000
FORMATS: Final = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Line:
    """One row: its number (1 is the first row of data), its columns or what is wrong with it, and the bytes read so far."""

    number: int
    row: dict[str, Any] | InvalidRecord
    bytes_read: int


def read_rows(path: Path) -> Iterator[Line]:
    """Yield the rows of a file. Raises ConfigurationError for a file that is missing or of another kind."""
    gzipped = path.suffix == ".gz"
    kind = path.with_suffix("").suffix if gzipped else path.suffix
    if kind not in FORMATS:
        raise ConfigurationError(f"{path} is of no known kind; name it {', '.join(FORMATS)}, each also with .gz")
    if not path.is_file():
        raise ConfigurationError(f"{path} does not exist")
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        data = cast("IO[bytes]", stack.enter_context(gzip.open(raw, "rb"))) if gzipped else raw
        reader = {".csv": _csv_rows, ".parquet": _parquet_rows}.get(kind, _json_rows)
        try:
            yield from reader(data, raw.tell)
        except (gzip.BadGzipFile, EOFError) as error:
            raise ConfigurationError(f"{path} is damaged: {error}; fetch it again") from error


def _json_rows(data: IO[bytes], position: Callable[[], int]) -> Iterator[Line]:
    for number, line in enumerate(data, 1):
        if line.strip():
            yield Line(number, _parse(line), position())


def _parse(line: bytes) -> dict[str, Any] | InvalidRecord:
    shown = line[:200].decode("utf-8", "replace")
    try:
        row = from_json(line)
    except ValueError as error:
        return InvalidRecord(Reason.INVALID_JSON, "record", shown, f"{error}; write one JSON object a line")
    if not isinstance(row, dict):
        return InvalidRecord(Reason.WRONG_TYPE, "record", shown, "write one JSON object a line")
    return row


def _csv_rows(data: IO[bytes], position: Callable[[], int]) -> Iterator[Line]:
    csv.field_size_limit(MAX_CELL_CHARS)
    text = io.TextIOWrapper(data, "utf-8-sig", errors="replace", newline="")
    reader = csv.DictReader(text, restkey="")
    for number, row in enumerate(reader, 1):
        extra = row.pop("", None)
        if extra is not None:
            fix = f"the header names {len(reader.fieldnames or ())} columns; quote values that hold commas"
            yield Line(number, InvalidRecord(Reason.INVALID_VALUE, "record", str(extra)[:200], fix), position())
        else:
            yield Line(number, row, position())
    text.detach()


def _parquet_rows(data: IO[bytes], position: Callable[[], int]) -> Iterator[Line]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(io.BytesIO(data.read()))  # its index stands at the end: no reading as a stream
    except pyarrow.ArrowInvalid as error:
        raise ConfigurationError(f"no Parquet: {error}") from error
    number = 0
    for batch in table.iter_batches(batch_size=2_000):
        for row in batch.to_pylist():
            number += 1
            yield Line(number, row, position())
