"""Wire contracts: what travels in each topic, as frozen pydantic models.

Values are JSON. Readers ignore unknown fields, so a newer producer does not stop an older consumer. All times are
epoch milliseconds, UTC. What all contracts share stands in ``pipeline.contract``.
"""

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import BeforeValidator, ConfigDict, FailFast, Field, StringConstraints, field_validator, model_validator

from pipeline.contract import Contract, Name, OptionalName, Probability, Time, TimedContract, blank_is_none
from pipeline.errors import Reason

MAX_TEXT_CHARS = 200_000
MAX_NAMES = 1_000  # of one post, as its source may list them
SUM_TOLERANCE = 0.02  # three probabilities, each rounded to two decimals, may miss 1 by 0.015


def delivery_id(alert_id: str, revision: int) -> str:
    """Return the id of one step of an alert: the same alert and revision always give the same id."""
    return f"{alert_id}.{revision}"


class Action(StrEnum):
    """What a user did to an item."""

    VIEW = "view"
    CLICK = "click"
    SEARCH = "search"
    CART = "cart"
    PURCHASE = "purchase"
    RATE = "rate"
    READ = "read"
    LIKE = "like"


class BehaviorEvent(TimedContract):
    """One action of one user, keyed by ``user_id``. ``item_text`` (or the query of a search) is what gets encoded."""

    event_id: Name
    user_id: Name
    action: Action
    item_id: OptionalName = None
    item_text: Annotated[str | None, BeforeValidator(blank_is_none)] = Field(default=None, max_length=MAX_TEXT_CHARS)
    value: float | None = None
    session_id: OptionalName = None
    source: OptionalName = None


class SocialPost(TimedContract):
    """One post, keyed by ``event_id``. ``entities`` that the source knows are kept; the worker links the others.

    Its list is refused at the first wrong name: half a million of them would take seconds to explain.
    """

    event_id: Name
    author_id: Name
    text: Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS, strict=True)]
    language: OptionalName = None
    source: OptionalName = None
    entities: Annotated[tuple[Name, ...], FailFast(), Field(max_length=MAX_NAMES)] = ()
    repost_of: OptionalName = None
    author_created_ms: Time | None = None
    followers: Annotated[int | None, Field(ge=0)] = None
    url: OptionalName = None

    @field_validator("text")
    @classmethod
    def _has_text(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty; a post needs text to be scored")
        return value


class Sentiment(Contract):
    """Calibrated class probabilities of one text, rounded to four decimals."""

    negative: Probability
    neutral: Probability
    positive: Probability

    @model_validator(mode="after")
    def _sums_to_one(self) -> Self:
        total = self.negative + self.neutral + self.positive
        if abs(total - 1.0) > SUM_TOLERANCE:
            raise ValueError(
                f"negative, neutral and positive sum to {total:.4g}; give the probabilities of three classes, which sum to 1"
            )
        return self


class ScoredPost(TimedContract):
    """A post that names ``entity``, with the model's answers. A post that names k entities yields k of these.

    ``simhash`` is the 64-bit content fingerprint of the normalised text (16 hex digits): near-identical posts differ in
    few bits. ``entity`` is empty where the post names nobody. ``text``: its first 4,096 characters, the most a model reads.
    """

    event_id: Name
    entity: str
    author_id: Name
    text: str
    sentiment: Sentiment
    intents: dict[str, Probability] = {}
    simhash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    model: str
    model_revision: str
    language: str | None = None
    source: str | None = None
    repost_of: str | None = None
    author_created_ms: int | None = None
    followers: int | None = None
    url: str | None = None


class Band(Contract):
    """Expected value with its 5 % and 95 % quantiles."""

    low: float
    expected: float
    high: float


class Trend(TimedContract):
    """The closed pane of one entity: what was said in [window_start_ms, window_end_ms) and what was expected.

    A revision above 0 corrects an earlier record of the same entity and window, because late posts arrived.
    """

    entity: str
    window_start_ms: int
    window_end_ms: int
    revision: int = 0
    posts: int
    posts_effective: float
    negative_mass: float
    positive_mass: float
    negative_share: Probability
    authors: int
    clusters: int
    band: Band
    score: float
    detector_version: str


class AlertStatus(StrEnum):
    """Where an alert is in its life."""

    OPENED = "opened"
    UPDATED = "updated"
    ESCALATED = "escalated"
    RESOLVED = "resolved"
    RETRACTED = "retracted"


class Severity(StrEnum):
    """How bad: from the tail probability and the magnitude together."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Rule(StrEnum):
    """Which rule speaks."""

    NEGATIVE_SPIKE = "negative_spike"
    NEGATIVE_TREND = "negative_trend"
    COORDINATED_ACTIVITY = "coordinated_activity"
    MARKET_WIDE = "market_wide"


class AlertReason(StrEnum):
    """Why this record was written."""

    SCORE_ABOVE_THRESHOLD = "score_above_threshold"
    SEVERITY_ROSE = "severity_rose"
    MORE_NEGATIVE_POSTS = "more_negative_posts"
    MORE_POSTS = "more_posts"
    REOPENED_IN_COOLDOWN = "reopened_in_cooldown"
    QUIET = "quiet"
    CORRECTED_BELOW_THRESHOLD = "corrected_below_threshold"
    REPLACED = "replaced"
    FLOOD = "flood"


class Evidence(Contract):
    """One cluster of near-identical posts behind an alert, with a representative text."""

    event_id: str
    text: str
    author_id: str
    event_time_ms: int
    negative: Probability
    count: int = 1
    url: str | None = None


class WindowEvidence(Contract):
    """What one window saw against what it expected. ``share_of_score`` is this term's part of the score."""

    size_ms: int
    observed: float
    band: Band
    tail_log10: float
    share_of_score: float


class MarketMember(Contract):
    """A member of a market that is unusually negative. ``residual``: its score beyond what the market explains.

    ``own``: the residual reaches the member's own ``threshold``, so it stands out even in this market.
    """

    entity: str
    observed: float
    expected: float
    residual: float
    threshold: float
    own: bool


class MarketWide(Contract):
    """How much of a market is concerned: ``exceeding`` of ``entities``, the loudest of them, and observed over expected.

    Entities hardly ever heard of do not count: nobody knows what is usual for them.
    """

    factor: float
    entities: int
    exceeding: int
    members: tuple[MarketMember, ...] = ()


class Alert(TimedContract):
    """One step in the life of an alert. ``alert_id`` and ``revision`` are deterministic, so live and replay agree.

    ``event_time_ms`` is the end of the pane that decided. ``starts_at_ms`` never changes; ``ends_at_ms`` is set at the end.
    The score has four terms: the three ``windows``, and the tail of the negative share (``share_tail_log10`` and its
    ``share_of_score``); that of coordinated activity is 1 or 0 and has none. ``would_not_fire_below``: with fewer negative
    posts than that, counted as ``observed`` is and the most negative ones left out, it would not fire at this moment.
    ``authors``: at least so many; of panes older than three hours eight are known. ``duplicates_removed``: posts that count
    for no mood: copies, an author's third in a pane, lists of many names. ``market``: in alerts of the rule ``market_wide``
    alone.
    """

    alert_id: str
    revision: int
    status: AlertStatus
    rule: Rule
    reason: AlertReason
    severity: Severity
    entity: str
    starts_at_ms: int
    ends_at_ms: int | None = None
    score: float
    threshold: float
    observed: float
    band: Band
    lift: float
    negative_share: Probability
    negative_share_before: Probability
    share_tail_log10: float = 0.0
    share_of_score: Probability = 0.0
    posts: int
    posts_effective: float
    authors: int
    clusters: int
    duplicates_removed: int
    late_posts: int = 0
    baseline_age_ms: int
    cold_start: bool = False
    would_not_fire_below: int | None = None
    windows: tuple[WindowEvidence, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    market: MarketWide | None = None
    explanation: str
    detector_version: str
    config_hash: str
    model: str
    model_revision: str

    @property
    def delivery_id(self) -> str:
        """Identify this step for receivers."""
        return delivery_id(self.alert_id, self.revision)


class AlertGroup(Contract):
    """Alerts that went out in one webhook. ``group``: the fields that they share, as the receiver's settings ask for them.

    ``version`` changes when its readers must. Each alert is known by its ``alert_id`` and ``revision``, whatever it came with.
    """

    version: int = 1
    group: dict[str, str]
    alerts: tuple[Alert, ...]


class DeadLetter(Contract):
    """A record that could not be used, with its original bytes (base64 in JSON) and where it came from."""

    reason: Reason
    field: str
    value: str
    fix: str
    topic: str
    partition: int
    offset: int
    first_seen_ms: int
    timestamp_ms: int
    key: bytes | None = None
    payload: bytes

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    MAX_VALUE_CHARS: ClassVar[int] = 200
