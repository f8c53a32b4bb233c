"""Five-minute event-time panes of one entity: mergeable sums over distinct contents."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from pipeline.core.clusters import Clusters
from pipeline.core.decimals import four_decimals
from pipeline.core.text import is_list
from pipeline.core.trends import PANE_MS
from pipeline.events import ScoredPost

TOP_CONTENTS = 5
MAX_TEXT_CHARS = 280
UNITS = 10_000  # of mass: probabilities have four decimals, so sums of whole units are exact


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


_new_tuple = tuple.__new__


def mention_of(post: ScoredPost) -> Mention:
    """Return what the detector needs of a post.

    Once a post, so the fields come from the model's dictionary, and the tuple is made without Mention's own ``__new__``:
    that takes two thirds of the time.
    """
    fields = post.__dict__
    sentiment, event_time_ms = fields["sentiment"].__dict__, fields["event_time_ms"]
    created, available = fields["author_created_ms"], fields["available_at_ms"]
    values = (
        event_time_ms,
        fields["event_id"],
        int(fields["simhash"], 16),
        sentiment["negative"],
        sentiment["positive"],
        fields["author_id"],
        0 if created is None else created,
        event_time_ms if available is None else available,
        fields["text"][:MAX_TEXT_CHARS],
        fields["url"] or "",
        fields["model"],
        fields["model_revision"],
    )
    return _new_tuple(Mention, values)


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


class Totals(NamedTuple):
    """Running totals of an entity, as whole numbers: masses in UNITS."""

    posts: int
    effective: int
    negative: int
    positive: int


ZERO = Totals(0, 0, 0, 0)


@dataclass(slots=True)
class Pane:
    """The sums of one pane. Mass is probability of a negative (positive) tone, over the contents first seen here.

    ``through`` holds the sums of all panes of the entity up to and with this one, so that any window is one subtraction.
    """

    start_ms: int
    posts: int
    effective: int
    negative: float
    positive: float
    young: int
    late: int
    clusters: int
    authors: tuple[int, ...]
    contents: tuple[Content, ...]
    model: str
    model_revision: str
    through: Totals
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class PaneRules:
    """What summing up a pane depends on."""

    young_age_ms: int
    out_of_orderness_ms: int
    posts_per_author: int
    most_names: int = 3


def summarise(start_ms: int, mentions: Iterable[Mention], clusters: Clusters, before: Totals, rules: PaneRules) -> Pane:
    """Return the pane of these posts, taken in event-time order; new contents enter ``clusters``.

    Of one author at most ``posts_per_author`` contents count. A list of more than ``most_names`` names is a post like any
    other where floods are concerned, but it counts for no mood, and nobody's content is a copy of it.
    """
    ordered = sorted(mentions)
    times: dict[int, int] = {}
    said_first: list[Mention] = []  # by content, in the order of ``times``
    authors: dict[str, int] = {}
    effective, negative, positive, young, late = 0, 0.0, 0.0, 0, 0
    closes_ms = start_ms + PANE_MS + rules.out_of_orderness_ms
    assign, most, most_names, young_age_ms = clusters.assign, rules.posts_per_author, rules.most_names, rules.young_age_ms
    for mention in ordered:
        event_time_ms, _, fingerprint, worse, better, author_id, created_ms, available_at_ms, text = mention[:9]
        listed = "$" in text and is_list(text, most_names)
        leader, leads = (fingerprint, False) if listed else assign(fingerprint, event_time_ms)
        if leader in times:
            times[leader] += 1
        else:
            times[leader] = 1
            said_first.append(mention._replace(negative=0.0, positive=0.0) if listed else mention)
        if not listed:
            counted = authors.get(author_id, 0)
            if leads and counted < most:
                counted += 1
                effective += 1
                negative += worse
                positive += better
            authors[author_id] = counted
        if 0 < created_ms > event_time_ms - young_age_ms:
            young += 1
        if available_at_ms > closes_ms:
            late += 1
    last = ordered[-1]
    return Pane(
        start_ms=start_ms,
        posts=len(ordered),
        effective=effective,
        negative=four_decimals(negative),
        positive=four_decimals(positive),
        young=young,
        late=late,
        clusters=len(times),
        authors=tuple(sorted({crc32(author.encode("utf-8", "replace")) for author in authors})),
        contents=top_contents(times, said_first),
        model=last.model,
        model_revision=last.model_revision,
        through=added(before, len(ordered), effective, negative, positive),
    )


def added(before: Totals, posts: int, effective: int, negative: float, positive: float) -> Totals:
    """Return the running totals after one more pane with these sums."""
    return Totals(
        before.posts + posts,
        before.effective + effective,
        before.negative + round(negative * UNITS),
        before.positive + round(positive * UNITS),
    )


def top_contents(times: dict[int, int], said_first: Sequence[Mention | Content]) -> tuple[Content, ...]:
    """Return the contents with the most negative mass, and the commonest one; both arguments go by content."""
    if len(times) <= TOP_CONTENTS:
        return tuple([_content(leader, said, first) for (leader, said), first in zip(times.items(), said_first, strict=True)])
    by_mood = [(-said * first.negative, leader, first) for (leader, said), first in zip(times.items(), said_first, strict=True)]
    by_mood.sort()  # leaders differ, so mentions are never compared
    ranked = by_mood[:TOP_CONTENTS]
    most = max(times.values())
    commonest = min([leader for leader, said in times.items() if said == most])
    if commonest not in [leader for _, leader, _ in ranked]:
        ranked.append((0.0, commonest, said_first[list(times).index(commonest)]))
    return tuple([_content(leader, times[leader], first) for _, leader, first in ranked])


def _content(leader: int, times: int, m: Mention | Content) -> Content:
    return _new_tuple(Content, (leader, times, m.negative, m.event_time_ms, m.event_id, m.author_id, m.text, m.url))
