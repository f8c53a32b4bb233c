"""Folders in the cache that appear whole or not at all, also when two processes build the same one at once."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import ConfigurationError


def published(target: Path, build: Callable[[Path], None]) -> Path:
    """Return ``target``, a file or folder; where it is missing, let ``build(staging)`` make it and then publish it.

    The rename is atomic: a reader sees the whole or nothing, and an interrupted build leaves nothing but a staging path,
    which the next one clears. A second process waits for the first instead of doing the work again.
    Raises ConfigurationError where nothing can be written.
    """
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        what = f"{target.parent}: nothing can be written there ({error.strerror})"
        raise ConfigurationError(f"{what}; name another folder: export GROUNDSWELL_CACHE=FOLDER") from error
    staging = target.with_name(f".{target.name}.staging")
    with _locked(target.with_name(f".{target.name}.lock")):
        if not target.exists():
            _remove(staging)
            build(staging)
            staging.rename(target)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock of the operating system, which ends with the process however that ends."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
