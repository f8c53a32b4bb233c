"""What `doctor` finds: one problem, why it matters, and the command that mends it."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum

from pipeline.errors import GroundswellError


class Level(StrEnum):
    """How bad it is: an error keeps something from working, a warning makes it slow or fragile."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem. ``check`` names what was looked at; ``fix`` is a command, or a setting to change."""

    check: str
    level: Level
    message: str
    fix: str

    def as_dict(self) -> dict[str, str]:
        """Return the fields for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at."""

    name: str
    look: Callable[[], Iterable[Finding]]


def examine(checks: Iterable[Check]) -> dict[str, list[Finding]]:
    """Return what each check found. An error of ours that a check meets is itself a finding, with its own fix."""
    return {check.name: _findings(check) for check in checks}


def error(check: str, message: str, fix: str) -> Finding:
    """Return a problem that keeps something from working."""
    return Finding(check, Level.ERROR, message, fix)


def warning(check: str, message: str, fix: str) -> Finding:
    """Return a problem that makes something slow or fragile."""
    return Finding(check, Level.WARNING, message, fix)


def _findings(check: Check) -> list[Finding]:
    try:
        return list(check.look())
    except GroundswellError as found:
        return [error(check.name, found.message, found.fix.removeprefix("start it with: ") or "groundswell up")]
    except Exception as found:  # whatever is wrong with the machine, the other checks still say what they see
        what = f"could not be looked at: {type(found).__name__}: {found}"
        return [error(check.name, what, "mend what it names, or report it with the output of: groundswell doctor --json")]
