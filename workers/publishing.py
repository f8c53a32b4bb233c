"""Write a folder or a file so that others see all of it or nothing.

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

from safetensors import SafetensorError

from pipeline.errors import ConfigurationError

_CHUNK_BYTES = 1 << 20
_LEFTOVER: Final = re.compile(r"\..+\.(new|old)\.[a-z0-9_]{8}(\..*)?")  # as ``tempfile`` makes names


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


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
    with _telling(target, own=True):
        handle, name = _scratch_file(target)
        os.close(handle)
        Path(name).unlink()


@contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Yield a scratch folder beside ``target`` that takes its name when the block ends without an error.

    Raises ConfigurationError that names the target where the disk does not take it.
    """
    target = target.absolute()  # a relative one may have no name, as "." has none
    with _telling(target, own=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.new.", dir=target.parent))
    try:
        with _telling(target):
            yield scratch
        with _telling(target, own=True):
            scratch.chmod(0o755)
            _replace_folder(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def published_file(target: Path) -> Iterator[Path]:
    """Yield a scratch path beside ``target`` that takes its name when the block ends without an error.

    Raises ConfigurationError that names the target where the disk does not take it.
    """
    with _telling(target, own=True):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = _scratch_file(target)
        os.close(handle)
    scratch = Path(name)
    try:
        with _telling(target):
            yield scratch
        with _telling(target, own=True):
            scratch.chmod(0o644)
            scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def mend(folder: Path) -> None:
    """Put a folder back whose place was just being taken when a process was killed, and remove what else that left behind."""
    for path in [path for path in folder.glob(".*") if _LEFTOVER.fullmatch(path.name)]:
        if not path.is_dir():
            path.unlink(missing_ok=True)
            continue
        if ".old." in path.name:
            for before in path.iterdir():
                if not (folder / before.name).exists():
                    before.rename(folder / before.name)
        shutil.rmtree(path, ignore_errors=True)


def _scratch_file(target: Path) -> tuple[int, str]:
    return tempfile.mkstemp(prefix=f".{target.name}.new.", suffix=target.suffix, dir=target.parent)


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
def _telling(target: Path, own: bool = False) -> Iterator[None]:
    """Raise ConfigurationError for what the disk refuses: for every OSError of our ``own`` calls; in a caller's block, which
    may have others, for those of no narrower kind, as a full disk, a quota and a broken medium give, and safetensors' own.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if own or type(error) in (OSError, SafetensorError):
            raise _unwritable(target, error) from error
        raise


def _unwritable(target: Path, error: Exception) -> ConfigurationError:
    why = getattr(error, "strerror", None) or error
    return ConfigurationError(f"{target} cannot be written ({why}); make room, or choose another place or name")
