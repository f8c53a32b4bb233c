"""Which variables of the environment are settings, and which only look like it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from pipeline.settings import ENV_PREFIX, Settings

STACK_PROCESS: Final = f"{ENV_PREFIX}STACK_PROCESS"  # no setting: what `up` marks its processes with
STACK_LOG: Final = f"{ENV_PREFIX}STACK_LOG"  # no setting: the file to which `up` appends what its workers and notifier print


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the variables that look like settings and are none: a misspelt one would be ignored silently.

    They are no error: an orchestrator may put its own of that name beside them (GROUNDSWELL_SERVICE_HOST).
    """
    marks = STACK_PROCESS, STACK_LOG
    ours = (name for name in sorted(environ) if name.upper().startswith(ENV_PREFIX) and name not in marks)
    return [name for name in ours if not is_setting(name)]


def stack_log(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file to which what this process prints is appended; None where `up` did not start it."""
    return Path(environ[STACK_LOG]) if STACK_LOG in environ else None


def is_setting(variable: str) -> bool:
    """Tell whether an environment variable names a field of the settings, or a group of them as JSON."""
    fields = Settings.model_fields
    path = variable.upper().removeprefix(ENV_PREFIX).lower().split("__")
    for depth, part in enumerate(path):
        if part not in fields:
            return False
        kind = fields[part].annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return depth == len(path) - 1
        fields = kind.model_fields
    return True


def setters(group: str, field: str) -> list[str]:
    """Return the variables that set a field of a group: its own, or the whole group's as JSON, in capitals or not."""
    if field not in getattr(Settings(), group).model_fields_set:
        return []
    names = {f"{ENV_PREFIX}{group}".upper(), f"{ENV_PREFIX}{group}__{field}".upper()}
    return [name for name in sorted(os.environ) if name.upper() in names]
