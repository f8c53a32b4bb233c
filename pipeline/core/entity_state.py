"""The state of one entity, and its bytes.

Posts stay until no accepted late post can change their pane; before that, two checkpoints of the small part of the state
let the operator go back and decide again. Leaders and panes are kept once and cut off at the checkpoint's time.
"""

import json
import struct
import zlib
from base64 import b64decode
from dataclasses import dataclass, field
from io import BytesIO
from operator import attrgetter
from typing import Any

from pipeline.core.alerts import Incident
from pipeline.core.baseline import Baseline
from pipeline.core.clusters import Clusters
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.packed_pane import PackedPane
from pipeline.core.panes import Content, Mention, Pane, Totals
from pipeline.core.thresholds import OwnRate
from pipeline.core.windows import PaneHistory
from pipeline.errors import StateVersionError
from pipeline.events import Alert, Rule, Severity
from pipeline.times import BEFORE_ALL_MS

STATE_VERSION = 3  # also of the bytes of a PackedPane, which stand in a state as they are
_VERSION, _SIZE = struct.Struct(">H"), struct.Struct(">I")
_PANE, _BASELINE, _OWN_RATE, _INCIDENT = (attrgetter(*each.__slots__) for each in (Pane, Baseline, OwnRate, Incident))
_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode

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
    decided: Decided = field(default_factory=lambda: Decided(BEFORE_ALL_MS))
    newer: Decided = field(default_factory=lambda: Decided(BEFORE_ALL_MS))
    older: Decided = field(default_factory=lambda: Decided(BEFORE_ALL_MS))
    history: PaneHistory = field(default_factory=PaneHistory)
    mentions: dict[int, dict[str, Mention]] = field(default_factory=dict)
    open_panes: set[int] = field(default_factory=set)
    dirty_ms: int | None = None
    told_trends: dict[int, tuple[int, TrendNumbers]] = field(default_factory=dict)
    told_alerts: list[Alert] = field(default_factory=list)
    corrections: dict[str, int] = field(default_factory=dict)


def encode(state: EntityState) -> bytes:
    """Return the state: its version, the size of a JSON document, the document, and then arrays and packed panes as they are."""
    clusters, panes = state.clusters, state.history.packed
    document = {
        "entity": state.entity,
        "leaders": len(clusters.leaders),
        "checkpoints": [_decided_out(d) for d in (state.decided, state.newer, state.older)],
        "base": state.history.base,
        "packed": list(map(len, panes)),
        "panes": list(map(_PANE, state.history.unpacked)),
        "mentions": {str(start): list(posts.values()) for start, posts in state.mentions.items()},
        "open_panes": sorted(state.open_panes),
        "dirty_ms": state.dirty_ms,
        "told_trends": [[start, revision, numbers] for start, (revision, numbers) in state.told_trends.items()],
        "told_alerts": [alert.model_dump(mode="json", exclude_none=True) for alert in state.told_alerts],
        "corrections": state.corrections,
    }
    head = _json(document).encode()
    arrays = (clusters.leaders.tobytes(), clusters.first_ms.tobytes())
    return b"".join((_VERSION.pack(STATE_VERSION), _SIZE.pack(len(head)), head, *arrays, *panes))


def decode(encoded: bytes, config: DetectorConfig) -> EntityState:
    """Return the state. Raises StateVersionError for a version this code does not know."""
    (version,) = _VERSION.unpack_from(encoded)
    if version > STATE_VERSION:
        raise StateVersionError(
            f"the state of an entity has version {version}, this code reads up to {STATE_VERSION}; upgrade before restoring"
        )
    document, tail = _parts(encoded) if version > 2 else _parts_before_3(encoded, version)
    array_bytes = 8 * document["leaders"]
    clusters = Clusters(config.cluster_memory_ms, config.cluster_capacity)
    clusters.restore(tail.read(array_bytes), tail.read(array_bytes))
    packed = [PackedPane(tail.read(size)) for size in document["packed"]]
    decided, newer, older = (_decided_in(d) for d in document["checkpoints"])
    return EntityState(
        clusters=clusters,
        entity=document["entity"],
        decided=decided,
        newer=newer,
        older=older,
        history=PaneHistory(Totals(*document["base"]), packed, map(_pane_in, document["panes"])),
        mentions={int(s): {m[1]: Mention(*m) for m in posts} for s, posts in document["mentions"].items()},
        open_panes=set(document["open_panes"]),
        dirty_ms=document["dirty_ms"],
        told_trends={start: (revision, tuple(numbers)) for start, revision, numbers in document["told_trends"]},
        told_alerts=[Alert.model_validate(alert) for alert in document["told_alerts"]],
        corrections=document["corrections"],
    )


def _parts(encoded: bytes) -> tuple[dict[str, Any], BytesIO]:
    """Return the document, and what follows it."""
    body = BytesIO(encoded)
    body.seek(_VERSION.size)
    (size,) = _SIZE.unpack(body.read(_SIZE.size))
    return json.loads(body.read(size)), body


def _parts_before_3(encoded: bytes, version: int) -> tuple[dict[str, Any], BytesIO]:
    """Return the parts of version 3: until then all was one document, with arrays as text and no pane packed."""
    body = encoded[_VERSION.size :]
    document = json.loads(body if body.startswith(b"{") else zlib.decompress(body))
    if version < 2:
        _from_1_to_2(document)
    leaders = b64decode(document["leaders"])
    return document | {"leaders": len(leaders) // 8, "packed": []}, BytesIO(leaders + b64decode(document["first_ms"]))


def _from_1_to_2(document: dict[str, Any]) -> None:
    """Version 2 knows the entity's own rate of episodes: it begins at the last decision."""
    for values in document["checkpoints"]:
        values.insert(2, None if values[1] is None else list(_OWN_RATE(OwnRate(values[0]))))


def _decided_out(d: Decided) -> list[Any]:
    return [
        d.time_ms,
        None if d.baseline is None else _BASELINE(d.baseline),
        None if d.own_rate is None else _OWN_RATE(d.own_rate),
        None if d.opinion is None else _INCIDENT(d.opinion),
        None if d.flood is None else _INCIDENT(d.flood),
    ]


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
