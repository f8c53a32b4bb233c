"""What teachers say of training texts: JSON lines, one text a line by its hash, so that no text leaves its own file.

A set's file lies beside the recipe that names it.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.adapters.files import published_file, sha256_of
from pipeline.adapters.json_lines import read_objects
from pipeline.core.text import content_key
from pipeline.errors import ConfigurationError
from workers.encoder import SENTIMENTS
from workers.training.config import DataSet
from workers.training.data import Prepared

KEY: Final = "content_key"
_KEY_DIGITS: Final = 16  # half of it tells a million texts apart as well, and half of a file is keys
Chances = npt.NDArray[np.float32]


def with_teachers(sets: Sequence[Prepared], beside: Path) -> list[Prepared]:
    """Return the sets with what their teachers say. Raises ConfigurationError for a file that does not fit its set."""
    return [replace(one, taught=read_taught(beside / one.config.taught, one.texts)) if one.config.taught else one for one in sets]


def taught_hashes(sets: Sequence[DataSet], beside: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of teachers. Raises ConfigurationError that names the absent ones."""
    paths = [one.taught for one in sets if one.taught]
    if absent := [path for path in paths if not (beside / path).is_file()]:
        raise ConfigurationError(f"taught: {', '.join(absent)}: no such file in {beside}; `groundswell teach` writes them")
    return {path: sha256_of(beside / path) for path in paths}


def read_taught(path: Path, texts: Sequence[str]) -> Chances:
    """Return the chance of each sentiment for normal forms, (n, 3) float32, NaN for one without a row.

    A few have none where the recipe has other sets than the one that was taught, and so keeps other copies apart. Raises
    ConfigurationError that names file and line for a row that is no probabilities, and where most texts have none.
    """
    known = dict(_read(where, row) for where, row in read_objects(path))
    nothing = [float("nan")] * len(SENTIMENTS)
    found = np.array([known.get(_key(text), nothing) for text in texts], dtype=np.float32)
    absent = int(np.isnan(found[:, 0]).sum())
    if 2 * absent > len(texts):
        raise ConfigurationError(
            f"{path}: no row for {absent} of {len(texts)} training texts; it is of other texts, run `groundswell teach` on these"
        )
    return found


def write_taught(path: Path, texts: Sequence[str], chances: Chances) -> None:
    """Write what teachers say of normal forms; of a text that stands twice, once. chances: (n, 3)."""
    rows = {_key(text): own for text, own in zip(texts, chances.astype(np.float64).round(5).tolist(), strict=True)}
    lines = [json.dumps({KEY: key} | dict(zip(SENTIMENTS, own, strict=True))) for key, own in rows.items()]
    with published_file(path) as scratch:
        scratch.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0))


def _key(text: str) -> str:
    return content_key(text).hex()[:_KEY_DIGITS]


def _read(where: str, row: Mapping[str, Any]) -> tuple[str, list[float]]:
    wanted = (KEY, *SENTIMENTS)
    if missing := [name for name in wanted if name not in row]:
        raise ConfigurationError(f"{where}: {', '.join(missing)} is missing; each line needs {', '.join(wanted)}")
    chances = [row[name] for name in SENTIMENTS]
    if any(isinstance(one, bool) or not isinstance(one, int | float) or not 0 <= one <= 1 for one in chances):
        raise ConfigurationError(f"{where}: {', '.join(SENTIMENTS)} = {chances!r}; each is a number between 0 and 1")
    if abs(sum(chances) - 1) > 1e-3:
        raise ConfigurationError(f"{where}: {', '.join(SENTIMENTS)} = {chances!r} do not add up to 1")
    return str(row[KEY]), chances
