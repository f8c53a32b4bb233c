"""Files and folders that others see whole or not at all, and what a file's content hashes to."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import ConfigurationError


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_unwritable(folder: Path) -> None:
    """Make the folder if it is not there. Raises ConfigurationError where no file can be made in it: ask before the work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigurationError(f"{folder}: nothing can be written there ({error.strerror}); choose another place") from error


@contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Yield a scratch folder beside ``target`` that takes its name when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield scratch
        scratch.chmod(0o755)
        _replace_folder(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def published_file(target: Path, *, synced: bool = False) -> Iterator[Path]:
    """Yield a scratch path that takes the place of ``target`` when the block ends without an error.

    It has the same name, in a folder of its own beside ``target``. ``synced``: its content is on the disk before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        scratch = Path(folder) / target.name
        yield scratch
        if synced:
            with scratch.open("rb") as file:
                os.fsync(file.fileno())
        scratch.replace(target)


def _replace_folder(scratch: Path, target: Path) -> None:
    if not target.exists():
        scratch.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.rename(aside / target.name)
    scratch.rename(target)
    shutil.rmtree(aside)
