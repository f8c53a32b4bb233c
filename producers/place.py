"""The place in a file up to which all rows are durable, kept on disk so that an interrupted run can go on."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.adapters.files import published_file
from pipeline.errors import ConfigurationError
from producers.rows import unreadable

SAMPLE_BYTES: Final = 2**20


def fingerprint(path: Path) -> str:
    """Identify a file's content by its size, beginning and end (hashing all of a large file takes minutes).

    Raises ConfigurationError for a file that cannot be read.
    """
    digest = hashlib.sha256(str(path.stat().st_size).encode())
    try:
        with path.open("rb") as file:
            digest.update(file.read(SAMPLE_BYTES))
            file.seek(max(0, path.stat().st_size - SAMPLE_BYTES))
            digest.update(file.read(SAMPLE_BYTES))
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Place:
    """The position file of one input under one mapping."""

    path: Path

    @classmethod
    def of(cls, folder: Path, source: Path, mapping_digest: str, topic: str) -> "Place":
        """Return the place of a file: another content, mapping or topic (its name and id) has another place."""
        target = hashlib.sha256(topic.encode()).hexdigest()[:8]
        return cls(folder / f"{fingerprint(source)}-{mapping_digest}-{target}.json")

    @classmethod
    def of_world(cls, folder: Path, world: str, topics: str) -> "Place":
        """Return the place of a synthetic world, which its configuration describes wholly, in these topics."""
        return cls(folder / f"synthetic-{hashlib.sha256(f'{world}/{topics}'.encode()).hexdigest()[:16]}.json")

    @property
    def short(self) -> str:
        """Name it in eight letters, for what is kept beside it."""
        return hashlib.sha256(self.path.stem.encode()).hexdigest()[:8]

    def load(self) -> int:
        """Return the last durable line; 0 where there is none. Raises ConfigurationError for a damaged file."""
        if not self.path.is_file():
            return 0
        try:
            return int(json.loads(self.path.read_text("utf-8"))["line"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"position file {self.path} is damaged; remove it and start from the beginning") from error

    def save(self, line: int) -> None:
        """Keep a line atomically."""
        with published_file(self.path, synced=True) as scratch:
            scratch.write_text(json.dumps({"line": line}), "utf-8")

    def clear(self) -> None:
        """Forget the place: the file is done."""
        self.path.unlink(missing_ok=True)
