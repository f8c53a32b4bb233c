"""Files of lines, JSON among them, plain or gzip as their content says. What cannot be used is named with its line."""

import gzip
import json
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Final, cast

from pipeline.adapters.files import published_file
from pipeline.errors import ConfigurationError

GZIP_MAGIC: Final = b"\x1f\x8b"
SHOWN_CHARS: Final = 80


def has_lines(path: Path) -> bool:
    """Return whether the name is that of a file of JSON lines, packed or not."""
    return any(name in {".jsonl", ".json", ".ndjson"} for name in path.suffixes)


def unpacked(raw: BufferedReader) -> IO[bytes]:
    """Return the content of an open file, through gzip where it begins as gzip does, whatever the file's name says."""
    packed = raw.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
    return cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield every line with its number, the first one being 1; that has no byte order mark, though the file may.

    Raises ConfigurationError for a file that cannot be read, also where it ends too early.
    """
    number = 0
    try:
        with path.open("rb") as raw:
            for number, line in enumerate(unpacked(raw), 1):
                yield number, line.removeprefix(BOM_UTF8) if number == 1 else line
    except (OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.strerror:
            raise ConfigurationError(f"{path} cannot be read ({error.strerror}); give a file of lines, plain or gzip") from error
        fix = "it is not whole, fetch it again"
        raise ConfigurationError(f"{path} cannot be read after line {number} ({error}); {fix}") from error


def read_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield every line as text without its end, with ``FILE line NUMBER``.

    Raises ConfigurationError for a file that cannot be read, and for a line that is not UTF-8.
    """
    for number, line in read_lines(path):
        where = f"{path} line {number}"
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{where} is not UTF-8 text ({error}); save the file in UTF-8") from error
        yield where, text.rstrip("\r\n")


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the object of every line that is not blank, with ``FILE line NUMBER``.

    Raises ConfigurationError for a file that cannot be read, and for a line that is no JSON object.
    """
    for where, line in read_texts(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"{where} is not JSON ({error}); write one JSON object a line") from error
        if not isinstance(row, dict):
            raise ConfigurationError(f"{where} is a {type(row).__name__}, not an object; write one JSON object a line")
        yield where, row


def text_field(row: dict[str, Any], name: str, where: str, fix: str = "put it in quotes") -> str:
    """Return a field that must be a string. Raises ConfigurationError that begins with ``where``."""
    if name not in row:
        raise ConfigurationError(f"{where}: field {name!r} is missing; every line needs it, as a string")
    value = row[name]
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}: {name} = {value!r:.{SHOWN_CHARS}} is no string; {fix}")
    return value


def write_lines(path: Path, rows: Iterable[bytes]) -> None:
    """Write the lines, gzipped under a name that ends in .gz; an interrupted run leaves no half file."""
    with published_file(path) as scratch, gzip.open(scratch, "wb") if path.suffix == ".gz" else scratch.open("wb") as out:
        for row in rows:
            out.write(row + b"\n")
