"""The state of one entity, and its bytes.

Posts stay until no accepted late post can change their pane; before that, two checkpoints of the small part of the state
let the operator go back and decide again. Leaders and panes are kept once and cut off at the checkpoint's time.
"""

import json
import struct
import zlib
from base64 import b64decode, b64encode
from dataclasses import astuple, dataclass, field
from operator import attrgetter
from typing import Any

from pipeline.core.alerts import Incident
from pipeline.core.baseline import Baseline
from pipeline.core.clusters import Clusters
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.panes import Content, Mention, Pane, Totals
from pipeline.core.thresholds import OwnRate
from pipeline.core.windows import PaneHistory
from pipeline.errors import StateVersionError
from pipeline.events import Alert, Rule, Severity

STATE_VERSION = 2
DEFLATE_ABOVE_BYTES = 8_192
_HEADER = struct.Struct(">H")
_PANE = attrgetter(*Pane.__slots__)
LONG_AGO = -(2**62)

TrendNumbers = tuple[float, ...]


@dataclass(slots=True)
class Decided:
    """What has been decided up to ``time_ms`` (a pane end): small, copied at checkpoints."""

    time_ms: int
    baseline: Baseline | None = None
    own_rate: OwnRate | None = None
    opinion: Incident | None = None
    flood: Incident | None = None

    @property
    def is_open(self) -> bool:
        """Return whether time alone may still change something."""
        return (self.opinion is not None and self.opinion.is_open) or (self.flood is not None and self.flood.is_open)

    def copy(self) -> "Decided":
        """Return an independent copy."""
        baseline = None if self.baseline is None else self.baseline.copy()
        own_rate = None if self.own_rate is None else self.own_rate.copy()
        return Decided(self.time_ms, baseline, own_rate, self.opinion, self.flood)


@dataclass(slots=True)
class EntityState:
    """Everything about one entity. ``told_*``: what has been given out since the older checkpoint."""

    clusters: Clusters
    entity: str = ""
    decided: Decided = field(default_factory=lambda: Decided(LONG_AGO))
    newer: Decided = field(default_factory=lambda: Decided(LONG_AGO))
    older: Decided = field(default_factory=lambda: Decided(LONG_AGO))
    history: PaneHistory = field(default_factory=PaneHistory)
    mentions: dict[int, dict[str, Mention]] = field(default_factory=dict)
    open_panes: set[int] = field(default_factory=set)
    dirty_ms: int | None = None
    told_trends: dict[int, tuple[int, TrendNumbers]] = field(default_factory=dict)
    told_alerts: list[Alert] = field(default_factory=list)
    corrections: dict[str, int] = field(default_factory=dict)


def encode(state: EntityState) -> bytes:
    """Return the state as a two-byte version and compact JSON, deflated where it is large."""
    document = {
        "entity": state.entity,
        "leaders": b64encode(state.clusters.leaders.tobytes()).decode(),
        "first_ms": b64encode(state.clusters.first_ms.tobytes()).decode(),
        "checkpoints": [_decided_out(d) for d in (state.decided, state.newer, state.older)],
        "base": state.history.base,
        "panes": list(map(_PANE, state.history.panes)),
        "mentions": {str(start): list(posts.values()) for start, posts in state.mentions.items()},
        "open_panes": sorted(state.open_panes),
        "dirty_ms": state.dirty_ms,
        "told_trends": [[start, revision, numbers] for start, (revision, numbers) in state.told_trends.items()],
        "told_alerts": [alert.model_dump(mode="json", exclude_none=True) for alert in state.told_alerts],
        "corrections": state.corrections,
    }
    body = json.dumps(document, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()
    return _HEADER.pack(STATE_VERSION) + (zlib.compress(body, 1) if len(body) > DEFLATE_ABOVE_BYTES else body)


def decode(encoded: bytes, config: DetectorConfig) -> EntityState:
    """Return the state. Raises StateVersionError for a version this code does not know."""
    (version,) = _HEADER.unpack_from(encoded)
    if version > STATE_VERSION:
        raise StateVersionError(
            f"the state of an entity has version {version}, this code reads up to {STATE_VERSION}; upgrade before restoring"
        )
    body = encoded[_HEADER.size :]
    document = json.loads(body if body.startswith(b"{") else zlib.decompress(body))
    if version < 2:
        _from_1_to_2(document)
    clusters = Clusters(config.cluster_memory_ms, config.cluster_capacity)
    clusters.restore(b64decode(document["leaders"]), b64decode(document["first_ms"]))
    decided, newer, older = (_decided_in(d) for d in document["checkpoints"])
    return EntityState(
        clusters=clusters,
        entity=document["entity"],
        decided=decided,
        newer=newer,
        older=older,
        history=PaneHistory(Totals(*document["base"]), (_pane_in(values) for values in document["panes"])),
        mentions={int(s): {m[1]: Mention(*m) for m in posts} for s, posts in document["mentions"].items()},
        open_panes=set(document["open_panes"]),
        dirty_ms=document["dirty_ms"],
        told_trends={start: (revision, tuple(numbers)) for start, revision, numbers in document["told_trends"]},
        told_alerts=[Alert.model_validate(alert) for alert in document["told_alerts"]],
        corrections=document["corrections"],
    )


def _from_1_to_2(document: dict[str, Any]) -> None:
    """Version 2 knows the entity's own rate of episodes: it begins at the last decision."""
    for values in document["checkpoints"]:
        values.insert(2, None if values[1] is None else list(astuple(OwnRate(values[0]))))


def _decided_out(decided: Decided) -> list[Any]:
    parts = (decided.baseline, decided.own_rate, decided.opinion, decided.flood)
    return [decided.time_ms, *(None if part is None else astuple(part) for part in parts)]


def _decided_in(values: list[Any]) -> Decided:
    time_ms, baseline, own_rate, opinion, flood = values
    return Decided(
        time_ms,
        None if baseline is None else Baseline(*baseline),
        None if own_rate is None else OwnRate(*own_rate),
        _incident_in(opinion),
        _incident_in(flood),
    )


def _incident_in(values: list[Any] | None) -> Incident | None:
    if values is None:
        return None
    alert_id, rule, starts, opened, hot, threshold, severity, mass, steps, is_open = values
    return Incident(alert_id, Rule(rule), starts, opened, hot, threshold, Severity(severity), mass, steps, is_open)


def _pane_in(values: list[Any]) -> Pane:
    pane = Pane(*values)
    pane.authors, pane.through = tuple(pane.authors), Totals(*pane.through)
    pane.contents = tuple(Content(*content) for content in pane.contents)
    return pane
