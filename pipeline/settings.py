"""Settings, read once at the command line and passed down as plain values.

Each field can be set by an environment variable: ``GROUNDSWELL_`` and the path joined by two underscores, for example
``GROUNDSWELL_KAFKA__BOOTSTRAP=broker:9092``. A running local stack (``groundswell up``) writes its endpoints to
``HOME/stack.json``; they count wherever the environment does not say otherwise.
"""

import json
import os
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from pipeline.errors import ConfigurationError
from pipeline.times import DAY_MS, HOUR_MS, MINUTE_MS

ENV_PREFIX = "GROUNDSWELL_"
_YEAR_S: Final = 31_536_000

Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(ge=0, le=_YEAR_S, allow_inf_nan=False)]
Patience = Annotated[float, Field(gt=0, le=_YEAR_S, allow_inf_nan=False, description="seconds, above 0")]
TopicPrefix = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]*$", max_length=200)]  # Kafka takes 249 characters of a name
Days = Annotated[float, Field(gt=0, le=36_500, allow_inf_nan=False)]


class Section(BaseModel):
    """A group of settings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(Section):
    """How to reach Kafka. SASL and TLS as in kafka-python's options of the same names."""

    bootstrap: str = "127.0.0.1:9092"
    topic_prefix: TopicPrefix = "groundswell."
    replication_factor: int = Field(default=1, ge=1, le=32_767)
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: Path | None = None
    ssl_certfile: Path | None = None
    ssl_keyfile: Path | None = None
    max_in_flight_records: int = Field(default=10_000, gt=0)
    delivery_timeout_ms: int = Field(default=MINUTE_MS, ge=1_000)
    session_timeout_ms: int = Field(default=10_000, gt=0)
    max_poll_interval_ms: int = Field(default=300_000, gt=0)
    stall_timeout_s: Patience = 60.0


class RedisSettings(Section):
    """Where profiles live."""

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    key_prefix: str = "groundswell:"


class EncoderSettings(Section):
    """Which model, on which device, with how many tokens at once. ``model`` is a hub name or a folder.

    ``weights`` is the folder of a training run's adapter and heads; without it the shipped ones count.
    """

    model: str = "intfloat/multilingual-e5-small"
    weights: Path | None = None
    device: str = "auto"
    mode: Literal["auto", "fp32", "int8", "bf16"] = "auto"
    max_tokens: int = Field(default=256, ge=8, le=512)
    batch_tokens: int = Field(default=4096, gt=0)
    cache_bytes: int = Field(default=256 * 2**20, ge=0)


class WorkerSettings(Section):
    """The consume loop. A record that makes no progress for ``stuck_after_s`` fails readiness.

    Records that come while the device computes go to it together. When it is idle, a text waits up to ``max_wait_ms`` for
    others that would fill the token budget with it: fewer and larger writes and commits, for as much latency.
    After ``max_consecutive_dead_letters`` records in a row that cannot be used the worker stops, instead of moving a whole
    topic to the dead letters (0: never). ``entities`` is a dictionary of your own in place of the shipped one.
    """

    group: str = "groundswell-worker"
    max_poll_records: int = Field(default=2_000, gt=0)
    poll_timeout_ms: int = Field(default=200, ge=0, le=300_000)
    max_wait_ms: int = Field(default=0, ge=0)
    stuck_after_s: Patience = 120.0
    drain_timeout_s: Seconds = 15.0
    max_consecutive_dead_letters: int = Field(default=10_000, ge=0)
    entities: Path | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 0


class ProfileSettings(Section):
    """Half-lives in days, the weight of each action, and after how many days without an event a profile is dropped."""

    half_life_days: tuple[Days, Days] = (7.0, 90.0)
    weights: dict[str, float] = Field(
        default={
            "view": 1.0,
            "click": 1.0,
            "read": 1.0,
            "search": 1.0,
            "rate": 2.0,
            "like": 2.0,
            "cart": 3.0,
            "purchase": 5.0,
            "post": 1.0,
        }
    )
    idle_ttl_days: int = Field(default=400, gt=0, le=36_500)


class TrendSettings(Section):
    """What users set of the detector: how many false alerts they accept, how late posts may be, how long to stay quiet.

    ``false_alerts_per_entity_day``: above about 0.05 the detector opens on its least score anyway, so that more changes nothing.
    ``market``: which entities make up a market that is watched as a whole: all, those of one exchange, or none.
    ``checkpoint_interval_ms``: how often Flink keeps its state; only then do readers see what it told since the last time.
    The metrics' address is that of the in-process host; Flink's is its own.
    """

    false_alerts_per_entity_day: float = Field(default=0.005, gt=0, le=1)
    out_of_orderness_ms: int = Field(default=120_000, ge=0)
    idleness_ms: int = Field(default=MINUTE_MS, ge=0)
    allowed_lateness_ms: int = Field(default=HOUR_MS, ge=0)
    cooldown_ms: int = Field(default=DAY_MS, ge=0)
    market: Literal["all", "exchange", "off"] = "all"
    parallelism: int = Field(default=1, gt=0)
    execution_mode: Literal["process", "thread"] = "process"
    checkpoint_interval_ms: int = Field(default=10_000, gt=0)
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 0


class Endpoint(Section):
    """One receiver of alerts. The secret is a Standard Webhooks secret (``whsec_`` and base64); two allow rotation."""

    url: str
    secrets: tuple[SecretStr, ...] = Field(min_length=1)


class NotifySettings(Section):
    """Delivery of alerts: where to, and when to try again (seconds after each failed attempt).

    Endpoints are https, or http on this machine; ``allow_http`` lifts that. ``senders`` attempts per endpoint go on at once.
    While a market has an alert, those of the members it explains are held back, at most ``market_holds_s`` seconds after the
    market's latest word (0: nothing is held back).
    Alerts that are equal in the fields of ``group_by`` go out together (an empty list: all; unset: each alone): the first waits
    ``group_wait_s`` for others, later ones until ``group_interval_s`` have passed since.
    """

    group: str = "groundswell-notifier"
    endpoints: tuple[Endpoint, ...] = ()
    retry_schedule_s: tuple[Seconds, ...] = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
    timeout_s: Patience = 20.0
    max_retry_after_s: Seconds = 86_400.0
    senders: int = Field(default=4, gt=0)
    market_holds_s: Seconds = 86_400.0
    group_by: tuple[Literal["entity", "rule", "severity"], ...] | None = None
    group_wait_s: float = Field(default=30.0, ge=0, le=86_400)
    group_interval_s: float = Field(default=300.0, ge=0, le=86_400)
    allow_http: bool = False
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 0

    @field_validator("group_by", mode="before")
    @classmethod
    def _no_bare_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError('write a JSON list, as in ["rule"]')
        return value


class StackSettings(Section):
    """The local stack without Docker. Port 0 means: take a free one at the first start and keep it.

    ``flink_metrics_port`` is the job manager's; the task manager takes the next one. ``kafka_heap`` is what Java's -Xmx takes.
    """

    kafka_port: Port = 0
    kafka_controller_port: Port = 0
    redis_port: Port = 0
    flink_rest_port: Port = 0
    flink_rpc_port: Port = 0
    flink_metrics_port: int = Field(default=0, ge=0, lt=65_535)
    kafka_heap: str = Field(default="1g", pattern=r"^[1-9][0-9]*[kKmMgG]?$")
    start_timeout_s: Patience = 120.0
    workers: int = Field(default=1, ge=0)


class Settings(BaseSettings):
    """All settings; frozen. Build with ``load``."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", frozen=True, extra="ignore")

    home: Path = Path("~/.groundswell")
    cache: Path = Path("~/.cache/groundswell")
    data: Path = Path("../shared/data")
    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    encoder: EncoderSettings = EncoderSettings()
    worker: WorkerSettings = WorkerSettings()
    profiles: ProfileSettings = ProfileSettings()
    trends: TrendSettings = TrendSettings()
    notify: NotifySettings = NotifySettings()
    stack: StackSettings = StackSettings()
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over what the running stack wrote (which arrives as init values)."""
        return env_settings, init_settings


def load(home: Path | None = None) -> Settings:
    """Return the settings for ``home``: environment first, then HOME/stack.json, then the defaults.

    Without ``home`` it is GROUNDSWELL_HOME, or else the home of the stack that was last started on this account, so
    that ``groundswell status`` finds what ``groundswell up --home DIR`` began.
    Raises ConfigurationError that names the variable which has a wrong value or is no setting of its group, or the file that
    cannot be read. What looks like a setting and is in no group is told by ``pipeline.environment``.
    """
    chosen = (home or _default_home()).expanduser().resolve()
    settings = _validated({"home": chosen} | read_document(chosen / "stack.json", part="settings"))
    return settings.model_copy(update={"home": chosen, "cache": settings.cache.expanduser(), "data": settings.data.expanduser()})


def read_document(path: Path, part: str | None = None) -> dict[str, Any]:
    """Return what a file of the stack says, or a part of it; nothing where there is none.

    Raises ConfigurationError for a file that cannot be read or holds something else.
    """
    fix = "mend or remove it, then: groundswell down && groundswell up"
    try:
        found = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error})", fix) from error
    if isinstance(found, dict) and part is not None:
        found = found.get(part, {})
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path} holds {'no JSON object' if part is None else f'no group {part!r}'}", fix)
    return found


def _validated(values: dict[str, Any]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        told = [_told(each) for each in error.errors()]
        wrong = " ".join(dict.fromkeys(variable for variable, _ in told))
        raise ConfigurationError("; ".join(message for _, message in told), f"set it right, or: unset {wrong}") from None
    except SettingsError as error:
        raise _not_json(error) from None


def _not_json(error: SettingsError) -> ConfigurationError:
    """Name the variable whose value is no JSON; never the value, which may be a secret."""
    cause = error.__cause__
    written = cause.doc if isinstance(cause, json.JSONDecodeError) else None
    names = [name for name, value in os.environ.items() if name.upper().startswith(ENV_PREFIX) and value == written]
    fix = f"lists and groups are written as JSON, as in [7, 90]; set it right, or: unset {' '.join(names)}"
    return ConfigurationError(f"{', '.join(names) or error}: {cause}", fix)


def _told(error: ErrorDetails) -> tuple[str, str]:
    """Return the variable, and what is wrong with it; never the value, which may be a secret."""
    place, message = error["loc"], "is no setting" if error["type"] == "extra_forbidden" else error["msg"]
    names = list(takewhile(lambda part: isinstance(part, str), place))
    variable = ENV_PREFIX + "__".join(map(str, names)).upper()
    inside = "".join(f" [{part}]" for part in place[len(names) :])
    return variable, f"{variable}{inside}: {message}"


def current_home_file() -> Path:
    """Return the file that names the home of the stack last started on this account."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "groundswell" / "home"


def current_home() -> Path | None:
    """Return the home of the stack last started on this account; None where it was stopped, perhaps at this moment.

    Raises ConfigurationError where the file that should name it does not.
    """
    pointer = current_home_file()
    try:
        named = pointer.read_text("utf-8").strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{pointer} cannot be read ({error})", "remove it, and name the home: --home FOLDER") from error
    if not Path(named).is_absolute():
        raise ConfigurationError(f"{pointer} names no folder but {named!r}", "remove it, and name the home: --home FOLDER")
    return Path(named)


def _default_home() -> Path:
    from_env = os.environ.get(f"{ENV_PREFIX}HOME")
    if from_env:
        return Path(from_env)
    return current_home() or Path("~/.groundswell")
