"""The exception tree. Each leaf names its fate.

GroundswellError
├── InvalidRecord        dead-letter   this record can never be used
├── Unavailable          retry         a server does not answer now
└── Stop                 stop          going on would do harm
    ├── ConfigurationError             a setting, an option or a file is wrong
    ├── ModelError                     weights are missing, altered or of another shape
    └── StateVersionError              state was written by another version, or is damaged
"""

from enum import StrEnum
from typing import ClassVar


class Fate(StrEnum):
    """What becomes of the work that raised the error."""

    DEAD_LETTER = "dead-letter"
    RETRY = "retry"
    STOP = "stop"


class GroundswellError(Exception):
    """Anything this project raises on purpose. ``fix``, where given, stands behind the message, and `doctor` shows it apart."""

    fate: ClassVar[Fate] = Fate.STOP

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(f"{message}; {fix}" if fix else message)
        self.message = message
        self.fix = fix


class Reason(StrEnum):
    """Why a record became a dead letter."""

    INVALID_JSON = "invalid_json"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    INVALID_VALUE = "invalid_value"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    EMPTY_TEXT = "empty_text"
    TOO_LARGE = "too_large"
    MODEL_FAILED = "model_failed"
    DELIVERY_EXHAUSTED = "delivery_exhausted"


class InvalidRecord(GroundswellError):
    """A record that can never be used: says which field, what stood there, and how to mend it at the source."""

    fate = Fate.DEAD_LETTER

    def __init__(self, reason: Reason, field: str, value: str, fix: str) -> None:
        super().__init__(f"{reason}: {field} = {value}", fix)
        self.reason = reason
        self.field = field
        self.value = value


class Unavailable(GroundswellError):
    """A server does not answer now; the same call may succeed later."""

    fate = Fate.RETRY


class Stop(GroundswellError):
    """Going on would do harm: the process ends with a message and a non-zero exit code."""


class ConfigurationError(Stop):
    """A setting, an option or an input file is wrong."""


class ModelError(Stop):
    """Weights are missing, altered, or do not fit the architecture."""


class StateVersionError(Stop):
    """Stored state that this code cannot read: another version wrote it, as a rule a newer one, or it is damaged."""
