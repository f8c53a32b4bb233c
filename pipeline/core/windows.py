"""Five-minute event-time panes of one entity: mergeable sums over distinct contents, and the windows made of them."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple
from zlib import crc32

from pipeline.core.clusters import Clusters
from pipeline.core.text import is_list
from pipeline.core.trends import PANE_MS
from pipeline.events import ScoredPost

TOP_CONTENTS = 5
OLD_AUTHORS = 8
THIN_AFTER_MS = 10_800_000
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
        event_time_ms, _, fingerprint, worse, better, author_id, created_ms, available_at_ms = mention[:8]
        listed = is_list(mention.text, most_names)
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
        negative=round(negative, 4),
        positive=round(positive, 4),
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
        return tuple(_content(leader, times[leader], first) for leader, first in zip(times, said_first, strict=True))
    by_mood = [(-said * first.negative, leader, first) for (leader, said), first in zip(times.items(), said_first, strict=True)]
    ranked = sorted(by_mood)[:TOP_CONTENTS]  # leaders differ, so mentions are never compared
    commonest = min([(-said, leader) for leader, said in times.items()])[1]
    if commonest not in [leader for _, leader, _ in ranked]:
        ranked.append((0.0, commonest, said_first[list(times).index(commonest)]))
    return tuple(_content(leader, times[leader], first) for _, leader, first in ranked)


def _content(leader: int, times: int, m: Mention | Content) -> Content:
    return Content(leader, times, m.negative, m.event_time_ms, m.event_id, m.author_id, m.text, m.url)


def thinned(pane: Pane) -> Pane:
    """Return an old pane with its most negative content and a few authors only; its sums stay whole."""
    if len(pane.contents) <= 1 and len(pane.authors) <= OLD_AUTHORS:
        return pane  # small already, or thinned before
    worst = max(pane.contents, key=lambda content: (content.times * content.negative, content.fingerprint))
    return replace(pane, contents=(worst,), authors=pane.authors[:OLD_AUTHORS])


class WindowSums(NamedTuple):
    """Sums over the panes of one window."""

    posts: int
    effective: int
    negative: float
    positive: float


class PaneHistory:
    """The panes of one entity, ascending; sparse, for a pane without posts does not exist."""

    __slots__ = ("_base", "_starts", "_thin_ms", "panes")

    def __init__(self, base: Totals = ZERO, panes: Iterable[Pane] = ()) -> None:
        """Take the totals before the first pane that is kept, and the panes."""
        self._base = base
        self.panes = list(panes)
        self._starts = [pane.start_ms for pane in self.panes]
        self._thin_ms = 0

    @property
    def base(self) -> Totals:
        """Return the totals of everything before the first pane that is kept."""
        return self._base

    @property
    def totals(self) -> Totals:
        """Return the totals up to now."""
        return self.panes[-1].through if self.panes else self._base

    def append(self, pane: Pane) -> None:
        """Add the newest pane."""
        self.panes.append(pane)
        self._starts.append(pane.start_ms)

    def since(self, time_ms: int) -> int:
        """Return the index of the first pane that starts at or after ``time_ms``."""
        return bisect_left(self._starts, time_ms)

    def between(self, from_ms: int, last_ms: int) -> list[Pane]:
        """Return the panes that start at or after ``from_ms``, but not after ``last_ms``."""
        return self.panes[bisect_left(self._starts, from_ms) : bisect_right(self._starts, last_ms)]

    def cut_from(self, time_ms: int) -> None:
        """Forget the panes that start at or after ``time_ms``."""
        at = self.since(time_ms)
        del self.panes[at:], self._starts[at:]

    def forget_before(self, time_ms: int) -> None:
        """Forget the panes that start before ``time_ms``."""
        at = self.since(time_ms)
        if at > 0:
            self._base = self.panes[at - 1].through
            del self.panes[:at], self._starts[:at]

    def thin_before(self, time_ms: int) -> None:
        """Keep of the panes that start before ``time_ms`` only what ``thinned`` leaves."""
        if time_ms > self._thin_ms:
            for at in range(bisect_left(self._starts, self._thin_ms), bisect_left(self._starts, time_ms)):
                self.panes[at] = thinned(self.panes[at])
            self._thin_ms = time_ms

    def sums(self, end_ms: int, size_ms: int) -> WindowSums:
        """Return the sums over [end - size, end); no pane may start at or after ``end_ms``."""
        at = bisect_left(self._starts, end_ms - size_ms)
        if at == len(self.panes):
            return EMPTY
        posts, effective, negative, positive = self.panes[at - 1].through if at > 0 else self._base
        now = self.panes[-1].through
        return WindowSums(now[0] - posts, now[1] - effective, (now[2] - negative) / UNITS, (now[3] - positive) / UNITS)

    def posts(self, end_ms: int, size_ms: int) -> int:
        """Return ``sums(end_ms, size_ms).posts``."""
        at = bisect_left(self._starts, end_ms - size_ms)
        return self.totals.posts - (self.panes[at - 1].through if at > 0 else self._base).posts

    def negative(self, end_ms: int, size_ms: int) -> float:
        """Return ``sums(end_ms, size_ms).negative``."""
        at = bisect_left(self._starts, end_ms - size_ms)
        return (self.totals.negative - (self.panes[at - 1].through if at > 0 else self._base).negative) / UNITS

    def recent(self, end_ms: int, size_ms: int) -> list[Pane]:
        """Return the panes of [end - size, end), ascending; of those older than THIN_AFTER_MS only what ``thinned`` leaves."""
        oldest_whole_ms = end_ms - THIN_AFTER_MS
        return [
            pane if pane.start_ms >= oldest_whole_ms else thinned(pane) for pane in self.panes[self.since(end_ms - size_ms) :]
        ]

    def has_authors(self, least: int, end_ms: int, size_ms: int) -> bool:
        """Return whether the window has that many different authors; of old panes only those count that ``thinned`` leaves."""
        whole_ms = end_ms - THIN_AFTER_MS
        found: set[int] = set()
        for at in range(len(self.panes) - 1, self.since(end_ms - size_ms) - 1, -1):
            pane = self.panes[at]
            found.update(pane.authors if pane.start_ms >= whole_ms else pane.authors[:OLD_AUTHORS])
            if len(found) >= least:
                return True
        return False


EMPTY = WindowSums(0, 0, 0.0, 0.0)
