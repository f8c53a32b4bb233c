"""Rows of a file, whatever it is: JSON lines, CSV or Parquet, plain or gzipped. One row at a time, with its line number."""

import codecs
import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from pydantic_core import from_json

from pipeline.adapters.json_lines import unpacked
from pipeline.errors import ConfigurationError, InvalidRecord, Reason

if TYPE_CHECKING:
    from pyarrow import RecordBatch

MAX_CELL_CHARS: Final = 4_000_000
SHOWN_CHARS: Final = 200
FORMATS: Final = (".jsonl", ".ndjson", ".json", ".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Line:
    """One row: its number (1 is the first row of data), its columns or what is wrong with it, and the bytes read so far."""

    number: int
    row: dict[str, Any] | InvalidRecord
    bytes_read: int


class _Damaged(Exception):
    """A file that is not what its name says."""


class _Unusable(Exception):
    """A file whose rows would be misread; its words say what to mend."""


def read_rows(path: Path) -> Iterator[Line]:
    """Yield the rows of a file. Raises ConfigurationError for a file that is missing or of another kind."""
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if kind not in FORMATS:
        raise ConfigurationError(f"{path} is of no known kind; name it {', '.join(FORMATS)}, each also with .gz")
    if not path.is_file():
        raise ConfigurationError(f"{path} does not exist; check the path")
    reader = {".csv": _csv_rows, ".parquet": _parquet_rows}.get(kind, _json_rows)
    try:
        with path.open("rb") as raw:
            yield from reader(unpacked(raw), raw.tell)
    except (gzip.BadGzipFile, EOFError, zlib.error, _Damaged) as error:
        raise ConfigurationError(f"{path} is damaged: {error}; fetch it again") from error
    except _Unusable as error:
        raise ConfigurationError(f"{path}: {error}") from error
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> ConfigurationError:
    """Return the error for a file that the system does not give."""
    return ConfigurationError(f"{path} cannot be read ({error.strerror or error}); check its permissions and its disk")


def _json_rows(data: IO[bytes], position: Callable[[], int]) -> Iterator[Line]:
    for number, line in enumerate(data, 1):
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)  # what some editors put before UTF-8
        if line.strip():
            yield Line(number, _parse(line), position())


def _parse(line: bytes) -> dict[str, Any] | InvalidRecord:
    shown = line[:SHOWN_CHARS].decode("utf-8", "replace")
    try:
        row = from_json(line)
    except ValueError as error:
        return InvalidRecord(Reason.INVALID_JSON, "record", shown, f"{error}; write one JSON object a line")
    if not isinstance(row, dict):
        return InvalidRecord(Reason.WRONG_TYPE, "record", shown, "write one JSON object a line")
    return row


def _csv_rows(data: IO[bytes], position: Callable[[], int]) -> Iterator[Line]:
    csv.field_size_limit(MAX_CELL_CHARS)
    text = io.TextIOWrapper(data, "utf-8-sig", errors="surrogateescape", newline="")
    lines = _GivenBack(text)
    reader = csv.DictReader(lines, strict=True)
    names = _header(reader)
    for number in count(1):
        lines.taken.clear()
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield Line(number, _broken(error, lines.give_back()), position())
            continue
        if row is None:
            break
        yield Line(number, _checked(row, names), position())
    text.detach()


class _GivenBack:
    """The lines of a text. A quote that nobody closes takes the rows behind it in: ``give_back`` has them read again."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.taken: list[str] = []
        self._lines = lines
        self._again: list[str] = []  # the next one stands last

    def __iter__(self) -> "_GivenBack":
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else next(self._lines)
        self.taken.append(line)
        return line

    def give_back(self) -> str:
        """Return the first of the lines that were taken and are not empty; those behind it come again."""
        first = next(index for index, line in enumerate(self.taken) if line.strip("\r\n"))
        self._again += reversed(self.taken[first + 1 :])
        return self.taken[first]


def _header(reader: "csv.DictReader[str]") -> Sequence[str]:
    """Return the names of the columns. Raises _Unusable where a row could not be told by them."""
    try:
        names = reader.fieldnames or ()
    except csv.Error as error:
        raise _Unusable(f"its header cannot be read ({error}); close its quotes") from error
    if not all(map(_is_text, names)):
        raise _Unusable("its header is no UTF-8; save the file as UTF-8")
    doubled = sorted(name for name, times in Counter(names).items() if name and times > 1)
    if doubled:
        raise _Unusable(f"its header names {doubled[0]!r} twice, and a row can hold one value of it; name each column once")
    return names


def _broken(error: csv.Error, line: str) -> InvalidRecord:
    """Return the refusal of a row whose first line this is."""
    too_large = "limit" in str(error)
    shown = line[:SHOWN_CHARS].rstrip().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    fix = "close the quotes of the cell, or cut it" if too_large else "close the quotes of the cell, and double those inside it"
    return InvalidRecord(Reason.TOO_LARGE if too_large else Reason.INVALID_VALUE, "record", shown, f"{error}; {fix}")


def _checked(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any] | InvalidRecord:
    """Refuse a row with more cells than the header has names, or with bytes that are no UTF-8."""
    extra = row.pop(None, None)  # type: ignore[call-overload]  # the reader's key for what is too much
    if extra is not None:
        fix = f"the header names {len(names)} columns; quote values that hold commas"
        return InvalidRecord(Reason.INVALID_VALUE, "record", str(extra)[:SHOWN_CHARS], fix)
    for name, value in row.items():
        if value is not None and not _is_text(value):
            shown = value[:SHOWN_CHARS].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            return InvalidRecord(Reason.INVALID_VALUE, name, shown, "these bytes are no UTF-8; save the file as UTF-8")
    return row


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parquet_rows(data: IO[bytes], position: Callable[[], int]) -> Iterator[Line]:
    import pyarrow

    content = io.BytesIO(data.read())  # its index stands at the end: no reading as a stream
    try:
        for number, row in enumerate(_parquet_dicts(content), 1):
            yield Line(number, row, position())
    except (pyarrow.ArrowException, OSError) as error:
        raise _Damaged(f"no Parquet, or an altered one ({error})") from error


def _parquet_dicts(content: IO[bytes]) -> Iterator[dict[str, Any] | InvalidRecord]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(content).iter_batches(batch_size=2_000):
        cut = _without_nanoseconds(batch)
        try:
            yield from cut.to_pylist()
        except (ValueError, OverflowError):  # one value that Python has no form for; before the first row is given
            yield from (_parquet_dict(cut, index) for index in range(cut.num_rows))


def _without_nanoseconds(batch: "RecordBatch") -> "RecordBatch":
    """Cut the times to microseconds, all that Python's have: pandas writes nanoseconds, and nothing here has use for them."""
    from pyarrow import timestamp
    from pyarrow.types import is_timestamp

    for index, column in enumerate(batch.schema):
        if is_timestamp(column.type) and column.type.unit == "ns":
            cut = batch.column(index).cast(timestamp("us", column.type.tz), safe=False)
            batch = batch.set_column(index, column.name, cut)
    return batch


def _parquet_dict(batch: "RecordBatch", index: int) -> dict[str, Any] | InvalidRecord:
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[index].as_py()
        except (ValueError, OverflowError) as error:
            fix = "a text must be UTF-8, and a time of the years 1 to 9999; mend it at the source"
            return InvalidRecord(Reason.INVALID_VALUE, name, str(error)[:SHOWN_CHARS], fix)
    return row
