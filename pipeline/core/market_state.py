"""The state of one group: an entity's, fed by the digests of its members; and its bytes.

Digests of panes that may still be summed up again are whole; older ones, down to the longest window, have lost their contents;
before that only the newest of each member is kept, for what it expects of itself while it is silent.
"""

import json
import struct
import zlib
from dataclasses import dataclass, field, fields

from pipeline.core import entity_state
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import EntityState
from pipeline.core.market_pane import Part
from pipeline.core.pane_digest import PaneDigest, digest_in, without_contents
from pipeline.errors import StateVersionError

MARKET_STATE_VERSION = 1
_HEADER = struct.Struct(">HI")  # version, bytes of the entity's state; then that, then the rest


@dataclass(slots=True)
class MarketState(EntityState):
    """``digests`` and ``parts`` by pane start and member; ``last``: the newest older digest of each member.

    ``thinned_ms``: digests of earlier panes have lost their contents already, and no more digests come to those panes;
    ``written``: these panes as ``encode`` writes them; ``watermark_ms``: the highest that came with a digest, there as soon as
    one comes. None of them is worth keeping.
    """

    digests: dict[int, dict[str, PaneDigest]] = field(default_factory=dict)
    parts: dict[int, dict[str, Part]] = field(default_factory=dict)
    last: dict[str, PaneDigest] = field(default_factory=dict)
    thinned_ms: int = 0
    written: dict[int, str] = field(default_factory=dict)
    watermark_ms: int = -(2**62)

    def known(self, end_ms: int, within_ms: int) -> dict[str, PaneDigest]:
        """Return the newest digest of each member that was heard of in [end - within, end)."""
        newest = dict(self.last)
        for start in sorted(self.digests):
            if start < end_ms:
                newest.update(self.digests[start])
        return {entity: newest[entity] for entity in sorted(newest) if newest[entity].start_ms >= end_ms - within_ms}

    def said(self, end_ms: int, size_ms: int) -> dict[str, list[PaneDigest]]:
        """Return the digests of each member in [end - size, end)."""
        found: dict[str, list[PaneDigest]] = {}
        for start in sorted(self.digests):
            if end_ms - size_ms <= start < end_ms:
                for entity, digest in self.digests[start].items():
                    found.setdefault(entity, []).append(digest)
        return found

    def parts_between(self, end_ms: int, size_ms: int) -> list[dict[str, Part]]:
        """Return the members' parts of each pane in [end - size, end)."""
        return [self.parts[start] for start in sorted(self.parts) if end_ms - size_ms <= start < end_ms]

    def forget(self, since_ms: int, longest_ms: int, within_ms: int) -> None:
        """Let go of what is not needed to sum up panes from ``since_ms`` on, and to look back ``longest_ms`` from there."""
        for start in sorted(self.digests):
            if start < since_ms - longest_ms:
                self.last.update(self.digests.pop(start))
                self.parts.pop(start, None)
                self.written.pop(start, None)
            elif self.thinned_ms <= start < since_ms:
                self.digests[start] = {entity: without_contents(digest) for entity, digest in self.digests[start].items()}
        self.thinned_ms = since_ms
        self.last = {entity: digest for entity, digest in self.last.items() if digest.start_ms >= since_ms - within_ms}


def encode(state: MarketState) -> bytes:
    """Return the state as a version, the entity's own encoding, and deflated JSON."""
    shared = entity_state.encode(state)
    digests = ",".join(_pane_out(state, start) for start in sorted(state.digests))
    parts = _json([[start, parts] for start, parts in sorted(state.parts.items())])
    body = f'{{"digests":[{digests}],"parts":{parts},"last":{_json(list(state.last.values()))}}}'.encode()
    return _HEADER.pack(MARKET_STATE_VERSION, len(shared)) + shared + zlib.compress(body, 1)


def _pane_out(state: MarketState, start: int) -> str:
    """Return the digests of one pane as JSON; a host encodes often, and most panes change no more: those are written once."""
    written = state.written.get(start)
    if written is None:
        written = _json(list(state.digests[start].values()))
        if start < state.thinned_ms:
            state.written[start] = written
    return written


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def decode(encoded: bytes, config: DetectorConfig) -> MarketState:
    """Return the state. Raises StateVersionError for a version this code does not know."""
    version, size = _HEADER.unpack_from(encoded)
    if version > MARKET_STATE_VERSION:
        raise StateVersionError(
            f"the state of a market has version {version}, this code reads up to {MARKET_STATE_VERSION}; upgrade before restoring"
        )
    shared = entity_state.decode(encoded[_HEADER.size : _HEADER.size + size], config)
    document = json.loads(zlib.decompress(encoded[_HEADER.size + size :]))
    digests: dict[int, dict[str, PaneDigest]] = {}
    for each in (digest_in(values) for by_member in document["digests"] for values in by_member):
        digests.setdefault(each.start_ms, {})[each.entity] = each
    return MarketState(
        **{each.name: getattr(shared, each.name) for each in fields(shared)},
        digests=digests,
        parts={start: {entity: Part(*part) for entity, part in parts.items()} for start, parts in document["parts"]},
        last={each.entity: each for each in map(digest_in, document["last"])},
    )
