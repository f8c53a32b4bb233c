"""What the Flink job is told: one frozen document, written by the application's environment, read by Flink's.

Both environments import this module, so it needs pydantic and the core alone.
"""

from dataclasses import fields, is_dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from pipeline.core.detector_config import DetectorConfig
from pipeline.times import MINUTE_MS


class TrendsJob(BaseModel):
    """Everything the job depends on. Times in milliseconds; ``properties`` are Java Kafka client options.

    A partition that brought nothing for ``empty_after_ms`` no longer holds the watermark back. One that was only slow to start,
    or that wakes up after others, then finds its market ahead of its posts: so this is no short time.

    A watermark makes every entity with posts before it fold them and write its state, however few they are: so watermarks come
    ``watermark_interval_ms`` apart. A bundle of rows on its way to Python ends with a request for every entity in it: so one may
    last ``bundle_ms``. Nobody can read what is told before the next checkpoint anyway.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap: str
    properties: dict[str, str] = {}
    group: str
    scored: str
    trends: str
    alerts: str
    late: str
    dead_letters: str
    detector: DetectorConfig
    idleness_ms: int = Field(gt=0)
    empty_after_ms: int = Field(default=MINUTE_MS, gt=0)
    bounded: bool = False
    parallelism: int = Field(default=1, ge=1)
    execution_mode: Literal["process", "thread"] = "process"
    bundle_records: int = Field(default=2_000, gt=0)
    bundle_ms: int = Field(default=500, gt=0)
    watermark_interval_ms: int = Field(default=1_000, gt=0)
    checkpoint_interval_ms: int = Field(default=10_000, gt=0)

    @property
    def name(self) -> str:
        """Return the name under which the cluster shows the job; it tells jobs of different stacks apart."""
        return f"groundswell trends on {self.scored}"

    @field_serializer("detector")
    def _as_given(self, detector: DetectorConfig) -> Any:
        return _constructor_arguments(detector)


def _constructor_arguments(value: Any) -> Any:
    """Return what the configuration was built from; what it derives from that is derived again by the reader."""
    if is_dataclass(value):
        return {each.name: _constructor_arguments(getattr(value, each.name)) for each in fields(value) if each.init}
    return [_constructor_arguments(each) for each in value] if isinstance(value, tuple) else value
