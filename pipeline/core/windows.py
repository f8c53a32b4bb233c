"""Five-minute event-time panes of one entity: mergeable sums over distinct contents, and the windows made of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from pipeline.core.clusters import Clusters
from pipeline.core.trends import PANE_MS
from pipeline.events import ScoredPost

TOP_CONTENTS = 5
MAX_TEXT_CHARS = 280


class Mention(NamedTuple):
    """What is kept of a post until its pane is settled. The order of the fields is the order of processing."""

    event_time_ms: int
    event_id: str
    fingerprint: int
    negative: float
    positive: float
    author_id: str
    author_created_ms: int
    available_at_ms: int
    text: str
    url: str
    model: str
    model_revision: str


def mention_of(post: ScoredPost) -> Mention:
    """Return what the detector needs of a post."""
    created, available = post.author_created_ms, post.available_at_ms
    return Mention(
        post.event_time_ms,
        post.event_id,
        int(post.simhash, 16),
        post.sentiment.negative,
        post.sentiment.positive,
        post.author_id,
        0 if created is None else created,
        post.event_time_ms if available is None else available,
        post.text[:MAX_TEXT_CHARS],
        post.url or "",
        post.model,
        post.model_revision,
    )


def pane_start(time_ms: int) -> int:
    """Return the start of the pane that holds ``time_ms``."""
    return time_ms - time_ms % PANE_MS


class Content(NamedTuple):
    """One content in one pane: how often it was said, and who said it first there."""

    fingerprint: int
    times: int
    negative: float
    event_time_ms: int
    event_id: str
    author_id: str
    text: str
    url: str


@dataclass(slots=True)
class Pane:
    """The sums of one pane. ``negative`` and ``positive`` are probability mass over contents first seen here."""

    start_ms: int
    posts: int
    effective: float
    negative: float
    positive: float
    young: int
    late: int
    authors: tuple[int, ...]
    contents: tuple[Content, ...]
    model: str
    model_revision: str
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class PaneRules:
    """What summing up a pane depends on."""

    young_age_ms: int
    out_of_orderness_ms: int


def summarise(start_ms: int, mentions: Iterable[Mention], clusters: Clusters, rules: PaneRules) -> Pane:
    """Return the pane of these posts, taken in event-time order; new contents enter ``clusters``."""
    ordered = sorted(mentions)
    counts: dict[int, int] = {}
    first: dict[int, Mention] = {}
    effective = negative = positive = 0.0
    for mention in ordered:
        leader, leads = clusters.assign(mention.fingerprint, mention.event_time_ms)
        if leads:
            effective += 1.0
            negative += mention.negative
            positive += mention.positive
        counts[leader] = counts.get(leader, 0) + 1
        first.setdefault(leader, mention)
    closes_ms = start_ms + PANE_MS + rules.out_of_orderness_ms
    last = ordered[-1]
    return Pane(
        start_ms=start_ms,
        posts=len(ordered),
        effective=effective,
        negative=negative,
        positive=positive,
        young=sum(0 < m.author_created_ms > m.event_time_ms - rules.young_age_ms for m in ordered),
        late=sum(m.available_at_ms > closes_ms for m in ordered),
        authors=tuple(sorted({crc32(m.author_id.encode("utf-8", "replace")) for m in ordered})),
        contents=_top(counts, first),
        model=last.model,
        model_revision=last.model_revision,
    )


def _top(counts: dict[int, int], first: dict[int, Mention]) -> tuple[Content, ...]:
    ranked = sorted(counts, key=lambda leader: (-counts[leader] * first[leader].negative, leader))
    chosen = ranked[:TOP_CONTENTS]
    commonest = max(counts, key=lambda leader: (counts[leader], -leader))
    if commonest not in chosen:
        chosen.append(commonest)
    return tuple(_content(leader, counts[leader], first[leader]) for leader in chosen)


def _content(leader: int, count: int, m: Mention) -> Content:
    return Content(leader, count, m.negative, m.event_time_ms, m.event_id, m.author_id, m.text, m.url)


class WindowSums(NamedTuple):
    """Sums over the panes of one window."""

    posts: int
    effective: float
    negative: float
    positive: float


def window_sums(panes: Sequence[Pane], end_ms: int, sizes_ms: Sequence[int]) -> list[WindowSums]:
    """Return the sums over [end - size, end) for each ascending size. ``panes`` ascend and none starts at or after ``end_ms``."""
    sums: list[WindowSums] = []
    posts, effective, negative, positive = 0, 0.0, 0.0, 0.0
    at = len(panes) - 1
    for size in sizes_ms:
        from_ms = end_ms - size
        while at >= 0 and panes[at].start_ms >= from_ms:
            pane = panes[at]
            posts += pane.posts
            effective += pane.effective
            negative += pane.negative
            positive += pane.positive
            at -= 1
        sums.append(WindowSums(posts, effective, negative, positive))
    return sums


def panes_within(panes: Sequence[Pane], end_ms: int, size_ms: int) -> list[Pane]:
    """Return the panes of [end - size, end), newest first."""
    found: list[Pane] = []
    for pane in reversed(panes):
        if pane.start_ms < end_ms - size_ms:
            break
        found.append(pane)
    return found
