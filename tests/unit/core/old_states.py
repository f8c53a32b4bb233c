"""States as older releases wrote them."""

import json
import zlib
from base64 import b64decode, b64encode
from dataclasses import astuple
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.alerts import make_alert_id
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import Decided, EntityState
from pipeline.events import Rule
from pipeline.jobs.trends import Snapshot

WRITTEN = Path(__file__).parent / "states" / "version_2.json"


class OldSnapshot(NamedTuple):
    """What a host of the release that wrote version 2 knew after the first ``posts`` of ``streams.eventful()``."""

    posts: int
    snapshot: Snapshot


def written_as_version_2() -> OldSnapshot:
    """Return the snapshot that stands in WRITTEN: an alert is open, old panes are packed, states are deflated."""
    document = json.loads(WRITTEN.read_text("ascii"))
    states, groups = ({name: b64decode(encoded) for name, encoded in document[part].items()} for part in ("states", "groups"))
    states = {name: _with_ids_of_today(encoded) for name, encoded in states.items()}
    timers = [(timer_ms, entity) for timer_ms, entity in document["timers"]]
    known = Snapshot(document["watermark_ms"], states, timers, document["newest_ms"], groups)
    return OldSnapshot(document["posts"], known)


def _with_ids_of_today(encoded: bytes) -> bytes:
    """Return the state as if that release had had today's configuration, on which the ids of alerts depend."""
    document, config_hash = document_of(encoded), DetectorConfig().config_hash
    incidents = [each for checkpoint in document["checkpoints"] for each in checkpoint[3:] if each is not None]
    for incident in incidents:
        incident[0] = make_alert_id(config_hash, document["entity"], Rule(incident[1]), incident[2])
    for told in document["told_alerts"]:
        first_pane_ms = told["starts_at_ms"]
        told |= {
            "alert_id": make_alert_id(config_hash, document["entity"], Rule(told["rule"]), first_pane_ms),
            "config_hash": config_hash,
        }
    body = json.dumps(document).encode()
    return encoded[:2] + (body if encoded[2:3] == b"{" else zlib.compress(body, 1))


def document_of(encoded: bytes) -> dict[str, Any]:
    """Return the document of a state of version 1 or 2."""
    body = encoded[2:]
    document: dict[str, Any] = json.loads(body if body.startswith(b"{") else zlib.decompress(body))
    return document


def as_version_1(encoded: bytes) -> bytes:
    """Return a state of version 2 as version 1 would have written it: it did not know the entity's own rate of episodes."""
    document = document_of(encoded)
    for values in document["checkpoints"]:
        del values[2]
    return (1).to_bytes(2, "big") + json.dumps(document).encode()


def encoded_as_version_2(state: EntityState) -> bytes:
    """Return the state as version 2 wrote it: one JSON document, deflated where it is large."""
    pane = "start_ms posts effective negative positive young late clusters authors contents model model_revision through frozen"

    def decided(d: Decided) -> list[Any]:
        parts = (d.baseline, d.own_rate, d.opinion, d.flood)
        return [d.time_ms, *(None if part is None else astuple(part) for part in parts)]

    document = {
        "entity": state.entity,
        "leaders": b64encode(state.clusters.leaders.tobytes()).decode(),
        "first_ms": b64encode(state.clusters.first_ms.tobytes()).decode(),
        "checkpoints": [decided(each) for each in (state.decided, state.newer, state.older)],
        "base": state.history.base,
        "panes": [[getattr(each, name) for name in pane.split()] for each in state.history.panes],
        "mentions": {str(start): list(posts.values()) for start, posts in state.mentions.items()},
        "open_panes": sorted(state.open_panes),
        "dirty_ms": state.dirty_ms,
        "told_trends": [[start, revision, numbers] for start, (revision, numbers) in state.told_trends.items()],
        "told_alerts": [alert.model_dump(mode="json", exclude_none=True) for alert in state.told_alerts],
        "corrections": state.corrections,
    }
    body = json.dumps(document, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()
    return (2).to_bytes(2, "big") + (zlib.compress(body, 1) if len(body) > 8_192 else body)
