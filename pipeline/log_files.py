"""What bounds the log of a process: NAME.log and the generation before it, NAME.log.1, of ``LOG_BYTES`` each."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

LOG_BYTES: Final = 10 * 2**20


def turn_over(log: Path, over_bytes: int = LOG_BYTES) -> None:
    """Make a log that is larger the generation before; for one that nobody writes to now."""
    if log.is_file() and log.stat().st_size > over_bytes:
        log.replace(_before(log))


def cut(log: Path, over_bytes: int = LOG_BYTES) -> None:
    """Copy a log that is larger to the generation before, and empty it; for one that is open for appending.

    A renamed one would go on growing under its new name. Where that fails, as on a full disk, the log stays as it is: it must
    end no process that writes to it.
    """
    with suppress(OSError):
        if log.stat().st_size > over_bytes:
            shutil.copyfile(log, _before(log))
            os.truncate(log, 0)


def _before(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")
