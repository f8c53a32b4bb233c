"""Files and folders that others see whole or not at all, and what a file's content hashes to.

What is being written lies beside its target under ``.NAME.new.…``, and a folder whose place it takes, for a moment, under
``.NAME.old.…``: ``mend`` knows by these names what a killed process left.
"""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pipeline.errors import ConfigurationError

_LEFTOVER: Final = re.compile(r"\..+\.(new|old)\.[a-z0-9_]{8}")  # as ``tempfile`` makes names


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


def refuse_target(target: Path) -> None:
    """Raise ConfigurationError where no file of this name can be published, or one would take the place of what is none."""
    try:
        found = target.exists()
    except OSError as error:
        raise _unwritable(target, error) from error
    if target.is_dir():
        raise ConfigurationError(f"--out: {target} is a folder; give the name of a file")
    if found and not target.is_file():
        raise ConfigurationError(f"--out: {target} is a device or a pipe, whose place a file would take; give the name of a file")
    refuse_unwritable(target.parent)
    with _telling(target, OSError):
        _scratch_folder(target).rmdir()


@contextmanager
def published_folder(target: Path, also: type[Exception] = OSError) -> Iterator[Path]:
    """Yield a scratch folder beside ``target`` that takes its name when the block ends without an error.

    Raises ConfigurationError that names the target where the disk does not take it; ``also``: how a library says that.
    """
    target = target.absolute()  # a relative one may have no name, as "." has none
    with _telling(target, OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = _scratch_folder(target)
    try:
        with _telling(target, also, exactly=True):
            yield scratch
        with _telling(target, OSError):
            scratch.chmod(0o755)
            _replace_folder(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def published_file(target: Path, also: type[Exception] = OSError, *, synced: bool = False) -> Iterator[Path]:
    """Yield a scratch path that takes the place of ``target`` when the block ends without an error.

    It has the same name, in a folder of its own beside ``target``. ``synced``: its content is on the disk before. Raises as
    ``published_folder``.
    """
    with _telling(target, OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = _scratch_folder(target)
    scratch = folder / target.name
    try:
        with _telling(target, also, exactly=True):
            yield scratch
        with _telling(target, OSError):
            if synced:
                _sync(scratch)
            scratch.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def mend(folder: Path) -> None:
    """Put a folder back whose place was just being taken when a process was killed, and remove what else that left behind."""
    for path in [path for path in folder.glob(".*") if path.is_dir() and _LEFTOVER.fullmatch(path.name)]:
        if ".old." in path.name:
            for before in path.iterdir():
                if not (folder / before.name).exists():
                    before.rename(folder / before.name)
        shutil.rmtree(path, ignore_errors=True)


def _scratch_folder(target: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f".{target.name}.new.", dir=target.parent))


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _replace_folder(scratch: Path, target: Path) -> None:
    if not target.exists():
        scratch.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    try:
        target.rename(aside / target.name)
        try:
            scratch.rename(target)
        except OSError:
            (aside / target.name).rename(target)
            raise
    finally:
        shutil.rmtree(aside)


@contextmanager
def _telling(target: Path, also: type[Exception], exactly: bool = False) -> Iterator[None]:
    """Raise ConfigurationError for what the disk refuses: for every OSError of our own calls; in a caller's block, which may
    have others, for those of no narrower kind (``exactly``), as a full disk, a quota and a broken medium give.
    """
    try:
        yield
    except (OSError, also) as error:
        if not exactly or type(error) in (OSError, also):
            raise _unwritable(target, error) from error
        raise


def _unwritable(target: Path, error: Exception) -> ConfigurationError:
    why = getattr(error, "strerror", None) or error
    return ConfigurationError(f"{target} cannot be written ({why}); make room, or choose another place or name")
