"""What every wire contract shares: frozen models, names, and times that cannot be a mistake of units.

All times are epoch milliseconds, UTC. Nothing here reads a clock: ``check_not_future`` takes the time as an argument.
"""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from pipeline.errors import InvalidRecord, Reason
from pipeline.times import MINUTE_MS

EARLIEST_MS = 946_684_800_000  # 2000-01-01: anything before is a unit mistake or a missing value
LATEST_MS = 4_102_444_800_000  # 2100-01-01: anything after is microseconds or nanoseconds
MAX_NAME_CHARS = 512
FUTURE_TOLERANCE_MS = 5 * MINUTE_MS  # clocks differ; one post from later stops all alerts until then, as the watermark goes by it


def _check_time(value: int) -> int:
    if value >= LATEST_MS:
        raise ValueError("must be epoch milliseconds; this is after 2100: divide microseconds by 1000")
    if value < EARLIEST_MS:
        raise ValueError("must be epoch milliseconds after 2000-01-01; multiply seconds by 1000")
    return value


def blank_is_none(value: Any) -> Any:
    """Return None for a text of nothing but spaces, else the value as it is."""
    return None if isinstance(value, str) and not value.strip() else value


Time = Annotated[int, Field(strict=True, description="epoch milliseconds, UTC"), AfterValidator(_check_time)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARS, strict=True)]
OptionalName = Annotated[Name | None, BeforeValidator(blank_is_none)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


def check_not_future(event_time_ms: int, now_ms: int, tolerance_ms: int = FUTURE_TOLERANCE_MS) -> None:
    """Raise InvalidRecord when an event claims to happen later than now, by more than is allowed for clocks that differ."""
    if event_time_ms > now_ms + tolerance_ms:
        fix = f"it lies more than {tolerance_ms // MINUTE_MS} minutes in the future; correct the source's clock"
        raise InvalidRecord(Reason.TIME_OUT_OF_RANGE, "event_time_ms", str(event_time_ms), fix)


class Contract(BaseModel):
    """What all wire contracts share."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    def to_json(self) -> bytes:
        """Return the value of a Kafka record: compact UTF-8 JSON without absent fields."""
        return self.model_dump_json(exclude_none=True).encode()


class TimedContract(Contract):
    """A contract with an event time (when it happened) and, where it differs, when the pipeline could have known."""

    event_time_ms: Time
    available_at_ms: Time | None = None
