"""What the closed pane of one entity tells the operator of its group: sums, what was expected, and the contents that weigh most.

A group that read every post would be one hot key; it reads one small record per entity and pane. The record is internal: it
travels between two operators of one host and stands in no topic.
"""

import json
from typing import NamedTuple

from pipeline.core.clusters import Clusters
from pipeline.core.detect import Assessment
from pipeline.core.panes import Content, Pane

TOLD_AUTHORS = 16
MANY = float(2**53)


class PaneDigest(NamedTuple):
    """One pane [start, start + 5 min) of one entity. The last one told of a pane holds.

    ``counted`` goes by ``contents``: whether the entity had not heard this content within the clusters' memory.
    ``authors`` are at most TOLD_AUTHORS. The last five fields are what the entity expects of itself at the end of the pane:
    negatives per day of mean activity, their dispersion, the share of negatives, the score that opens its alert, and how many
    posts it remembers. Releases that did not tell the last counted every entity as one with a history: so do their digests.
    """

    entity: str
    start_ms: int
    posts: int
    effective: int
    negative: float
    young: int
    late: int
    clusters: int
    authors: tuple[int, ...]
    contents: tuple[Content, ...]
    counted: tuple[bool, ...]
    model: str
    model_revision: str
    negative_per_day: float
    dispersion: float
    share: float
    threshold: float
    remembered: float = MANY


def digest_of(entity: str, pane: Pane, seen: Assessment, clusters: Clusters) -> PaneDigest:
    """Return the digest of the newest pane: ``clusters`` must not know anything said after it."""
    new = clusters.since(pane.start_ms)
    return PaneDigest(
        entity,
        pane.start_ms,
        pane.posts,
        pane.effective,
        pane.negative,
        pane.young,
        pane.late,
        pane.clusters,
        pane.authors[:TOLD_AUTHORS],
        pane.contents,
        tuple([content.fingerprint in new for content in pane.contents]),
        pane.model,
        pane.model_revision,
        seen.expected.negative_per_day,
        seen.dispersion,
        seen.expected.share,
        seen.threshold,
        seen.expected.posts,
    )


def without_contents(digest: PaneDigest) -> PaneDigest:
    """Return the digest without what only summing up its pane needs."""
    return digest._replace(authors=(), contents=(), counted=())


def encode_digest(digest: PaneDigest) -> bytes:
    """Return the digest as ASCII JSON: an array of its fields."""
    return json.dumps(digest, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def decode_digest(encoded: bytes | str) -> PaneDigest:
    """Return what ``encode_digest`` wrote."""
    return digest_in(json.loads(encoded))


def digest_in(values: list[object]) -> PaneDigest:
    """Return the digest of a decoded array."""
    found = PaneDigest(*values)  # type: ignore[arg-type]
    return found._replace(
        authors=tuple(found.authors),
        contents=tuple(Content(*content) for content in found.contents),
        counted=tuple(found.counted),
    )
