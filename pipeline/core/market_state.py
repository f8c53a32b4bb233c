"""The state of one group: an entity's, fed by the digests of its members; and its bytes.

Digests of panes that may still be summed up again are whole; older ones, down to the longest window, have lost their contents;
before that only the newest of each member is kept, for what it expects of itself while it is silent.
Version 3 tells what a member remembers; version 1 was one document.
"""

import json
import struct
import zlib
from dataclasses import dataclass, field, fields
from io import BytesIO
from typing import Any

from pipeline.core import entity_state
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.entity_state import EntityState
from pipeline.core.market_pane import Part
from pipeline.core.pane_digest import PaneDigest, digest_in, without_contents
from pipeline.errors import StateVersionError
from pipeline.times import BEFORE_ALL_MS

MARKET_STATE_VERSION = 3
_HEADER, _SIZE = struct.Struct(">HI"), struct.Struct(">I")
_START = PaneDigest._fields.index("start_ms")
_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False).encode


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
    written: dict[int, bytes] = field(default_factory=dict)
    watermark_ms: int = BEFORE_ALL_MS

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
    """Return the state: its version, the entity's own encoding and a JSON document, both with their sizes, and then the panes."""
    shared = entity_state.encode(state)
    panes = [_pane_out(state, start) for start in sorted(state.digests)]
    document = _json({"panes": list(map(len, panes)), "last": list(state.last.values())}).encode()
    return b"".join(
        (_HEADER.pack(MARKET_STATE_VERSION, len(shared)), shared, _SIZE.pack(len(document)), document, *panes),
    )


def _pane_out(state: MarketState, start: int) -> bytes:
    """Return one pane as deflated JSON; a host encodes often, and most panes change no more: those are written once."""
    written = state.written.get(start)
    if written is None:
        pane = (start, list(state.digests[start].values()), state.parts.get(start))
        written = zlib.compress(_json(pane).encode(), 1)
        if start < state.thinned_ms:
            state.written[start] = written
    return written


def decode(encoded: bytes, config: DetectorConfig) -> MarketState:
    """Return the state. Raises StateVersionError for a version this code does not know."""
    body = BytesIO(encoded)
    version, size = _HEADER.unpack(body.read(_HEADER.size))
    if version > MARKET_STATE_VERSION:
        raise StateVersionError(
            f"the state of a market has version {version}, this code reads up to {MARKET_STATE_VERSION}; upgrade before restoring"
        )
    shared = entity_state.decode(body.read(size), config)
    panes, last = _panes_in(body) if version > 1 else _panes_before_2(body)
    return MarketState(
        **{each.name: getattr(shared, each.name) for each in fields(shared)},
        digests={start: {each.entity: each for each in map(digest_in, digests)} for start, digests, _ in panes},
        parts={start: {entity: Part(*part) for entity, part in parts.items()} for start, _, parts in panes if parts},
        last={each.entity: each for each in map(digest_in, last)},
    )


def _panes_in(body: BytesIO) -> tuple[list[Any], list[Any]]:
    """Return start, digests and parts of each pane, and the last digests."""
    (size,) = _SIZE.unpack(body.read(_SIZE.size))
    document = json.loads(body.read(size))
    return [json.loads(zlib.decompress(body.read(each))) for each in document["panes"]], document["last"]


def _panes_before_2(body: BytesIO) -> tuple[list[Any], list[Any]]:
    """Return the same of version 1: there all was one deflated document."""
    document = json.loads(zlib.decompress(body.read()))
    parts = dict(document["parts"])
    starts = [digests[0][_START] for digests in document["digests"]]
    return [(at, digests, parts.get(at)) for at, digests in zip(starts, document["digests"], strict=True)], document["last"]
