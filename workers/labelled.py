"""Read labelled texts: JSON lines, one ``{"text": …, "label": …}`` a line, plain or gzipped.

Texts come back as an encoder reads them in serving.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pipeline.core.text import is_unicode, readable
from pipeline.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Labelled:
    """Texts as an encoder reads them, and the label of each. left_out: rows of the file without one label."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.texts)


def read_labelled(path: Path, allowed: Sequence[str] | None = None) -> Labelled:
    """Return the rows of a file; rows without one label (null, or labels by entity) are left out, and counted.

    Raises ConfigurationError that names file and line for a line that is no object, lacks a field, holds a text or label
    that is no string, or a label that is outside ``allowed`` or no Unicode.
    """
    texts, labels, left_out = [], [], 0
    for where, row in read_rows(path):
        text = _field(row, "text", where)
        if _unlabelled(row):
            left_out += 1
            continue
        label = _label(row, allowed, where)
        if allowed is not None and label not in allowed:
            raise ConfigurationError(f"{where}: label = {label!r}; use one of {', '.join(allowed)}")
        texts.append(readable(text))
        labels.append(label)
    if not texts:
        raise ConfigurationError(f'{path}: no labelled row; each line is {{"text": …, "label": …}}')
    return Labelled(tuple(texts), tuple(labels), left_out)


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each JSON object with ``file:line``. Raises ConfigurationError for what is not one."""
    for where, line in read_lines(path):
        if line.strip():
            yield where, _object(line, where)


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield each line of a text file, through gzip where its name ends in .gz, with ``file:line``.

    Raises ConfigurationError that names file and line for what cannot be read as UTF-8 text.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path}: no such file")
    where = path.name
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                where = f"{path.name}:{number}"
                yield where, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{where}: not UTF-8 text ({error}); save the file in UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigurationError(f"{path}: cannot be read after {where} ({error}); is it whole?") from error


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value] # a GzipFile has no name in the types of IO
    return path.open("rb")


def _unlabelled(row: dict[str, Any]) -> bool:
    """Return whether a row has no one label on purpose: null, or labels that differ by entity."""
    return ("label" in row and row["label"] is None) or ("label" not in row and "entities" in row)


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ConfigurationError(f"{where}: a {type(row).__name__}, not an object")
    return row


def _label(row: dict[str, Any], allowed: Sequence[str] | None, where: str) -> str:
    label = _field(row, "label", where, "put it in quotes" if allowed is None else f"use one of {', '.join(allowed)}")
    if not is_unicode(label):
        raise ConfigurationError(f"{where}: label = {label!r} holds half a character, which no file can hold; mend it")
    return label


def _field(row: dict[str, Any], name: str, where: str, fix: str = "put it in quotes") -> str:
    if name not in row:
        raise ConfigurationError(f"{where}: field {name!r} is missing; each line needs text and label")
    value = row[name]
    if not isinstance(value, str):
        raise ConfigurationError(f"{where}: {name} = {value!r} is no string; {fix}")
    return value
