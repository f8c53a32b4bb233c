"""Read labelled texts: JSON lines, one ``{"text": …, "label": …}`` a line, plain or gzipped.

Texts come back as an encoder reads them in serving.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.adapters.json_lines import read_objects, text_field
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
    for where, row in read_objects(path):
        text = text_field(row, "text", where)
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


def _unlabelled(row: dict[str, Any]) -> bool:
    """Return whether a row has no one label on purpose: null, or labels that differ by entity."""
    return ("label" in row and row["label"] is None) or ("label" not in row and "entities" in row)


def _label(row: dict[str, Any], allowed: Sequence[str] | None, where: str) -> str:
    label = text_field(row, "label", where, "put it in quotes" if allowed is None else f"use one of {', '.join(allowed)}")
    if not is_unicode(label):
        raise ConfigurationError(f"{where}: label = {label!r} holds half a character, which no file can hold; mend it")
    return label
