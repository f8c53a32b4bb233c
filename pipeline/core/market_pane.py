"""The pane of a group, summed up from the digests of its members: one content counts once, whoever it is about.

A post that names forty entities stands in forty digests, and so does a text that was pushed at forty of them. So contents are
collapsed across the members for as long as within one of them, and one author counts as often as within one. What a digest
does not carry (beyond the contents that weigh most) is taken as it is.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.core.clusters import Clusters
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.pane_digest import PaneDigest
from pipeline.core.panes import UNITS, Content, Pane, Totals, added, top_contents


class Part(NamedTuple):
    """What a group's pane would lack without one member: contents that name it count, whoever else they name. Mass in UNITS."""

    effective: int
    negative: int


class GroupPane(NamedTuple):
    """The sums of all members, and each member's part in them; parts overlap where posts name several members."""

    pane: Pane
    parts: dict[str, Part]


_Said = tuple[int, str, str, Content, bool]  # time, event, entity, content, whether it counted there


class _Summed(NamedTuple):
    """Sums over the members, and the contents that weigh most."""

    posts: int
    effective: int
    negative: float
    clusters: int
    contents: tuple[Content, ...]


class _Sums:
    """What the members' contents come to. By leader within the group: copies by event, who said it first, and its mass."""

    __slots__ = ("authors", "events", "first", "mass", "times")

    def __init__(self) -> None:
        self.times: dict[int, dict[str, int]] = {}
        self.first: dict[int, Content] = {}
        self.mass: dict[int, int] = {}
        self.events: dict[str, int] = {}
        self.authors: dict[str, int] = {}

    def add(self, content: Content, leader: int, may_count: bool, most: int) -> None:
        """Take one content of one member; copies of one event in several members are the same posts."""
        event_id, times = content.event_id, content.times
        copies = self.times.get(leader)
        if copies is None:
            copies = self.times[leader] = {}
            self.first[leader] = content
        copies[event_id] = max(copies.get(event_id, 0), times)
        self.events[event_id] = max(self.events.get(event_id, 0), times)
        if may_count and leader not in self.mass:
            counted = self.authors.get(content.author_id, 0)
            if counted < most:
                self.authors[content.author_id] = counted + 1
                self.mass[leader] = round(UNITS * content.negative)


def sum_up(
    start_ms: int, digests: Mapping[str, PaneDigest], clusters: Clusters, before: Totals, config: DetectorConfig
) -> GroupPane:
    """Return the group's pane from the digests by entity. New contents enter ``clusters``."""
    members = [digests[entity] for entity in sorted(digests)] if len(digests) > 1 else list(digests.values())
    carried = [
        (content.event_time_ms, content.event_id, digest.entity, content, counted)
        for digest in members
        for content, counted in zip(digest.contents, digest.counted, strict=True)
    ]
    if len(carried) > 1:
        carried.sort()
    assigned = [clusters.assign(content.fingerprint, time_ms) for time_ms, _, _, content, _ in carried]
    if _is_plain([content for _, _, _, content, _ in carried], assigned, config.posts_per_author):
        summed, parts = _plain(members), {d.entity: Part(d.effective, round(UNITS * d.negative)) for d in members}
    else:
        summed, parts = _collapsed(members, carried, assigned, config.posts_per_author)
    authors = sorted({author for digest in members for author in digest.authors}) if len(members) > 1 else members[0].authors
    pane = Pane(
        start_ms=start_ms,
        posts=summed.posts,
        effective=summed.effective,
        negative=summed.negative,
        positive=0.0,  # nothing asks a group for it
        young=min(summed.posts, sum([digest.young for digest in members])),
        late=sum([digest.late for digest in members]),
        clusters=summed.clusters,
        authors=tuple(authors[: config.market.authors_per_pane]),
        contents=summed.contents,
        model=members[-1].model,
        model_revision=members[-1].model_revision,
        through=added(before, summed.posts, summed.effective, summed.negative, 0.0),
    )
    return GroupPane(pane, parts)


def _is_plain(contents: Sequence[Content], assigned: Sequence[tuple[int, bool]], most: int) -> bool:
    """Return whether nothing is to be collapsed, as nearly always: then the sums of the group are those of its members."""
    if not all(leads for _, leads in assigned):
        return False
    if len(contents) == 1:
        return True
    authors = Counter([content.author_id for content in contents])
    return len({content.event_id for content in contents}) == len(contents) and max(authors.values(), default=0) <= most


def _plain(members: Sequence[PaneDigest]) -> _Summed:
    if len(members) == 1:
        (only,) = members
        return _Summed(only.posts, only.effective, only.negative, only.clusters, only.contents)
    contents = [content for digest in members for content in digest.contents]
    return _Summed(
        sum([digest.posts for digest in members]),
        sum([digest.effective for digest in members]),
        sum([round(UNITS * digest.negative) for digest in members]) / UNITS,
        sum([digest.clusters for digest in members]),
        top_contents({content.fingerprint: content.times for content in contents}, contents),
    )


def _collapsed(
    members: Sequence[PaneDigest], carried: Sequence[_Said], assigned: Sequence[tuple[int, bool]], most: int
) -> tuple[_Summed, dict[str, Part]]:
    sums, new = _Sums(), {leader for leader, leads in assigned if leads}
    said: dict[str, set[int]] = {digest.entity: set() for digest in members}
    for (_, _, entity, content, counted), (leader, _) in zip(carried, assigned, strict=True):
        said[entity].add(leader)
        sums.add(content, leader, counted and leader in new, most)
    rests = [_rest(digest) for digest in members]
    times = {leader: sum(copies.values()) for leader, copies in sums.times.items()}
    summed = _Summed(
        sum([d.posts - sum([content.times for content in d.contents]) for d in members]) + sum(sums.events.values()),
        len(sums.mass) + sum([rest.effective for rest in rests]),
        (sum(sums.mass.values()) + sum([rest.negative for rest in rests])) / UNITS,
        len(times) + sum([max(0, digest.clusters - len(digest.contents)) for digest in members]),
        top_contents(times, list(sums.first.values())),
    )
    return summed, {d.entity: _part(sums.mass, said[d.entity], rest) for d, rest in zip(members, rests, strict=True)}


def _rest(digest: PaneDigest) -> Part:
    """Return what a digest counts beyond the contents that it carries."""
    counted = [round(UNITS * c.negative) for c, counts in zip(digest.contents, digest.counted, strict=True) if counts]
    return Part(max(0, digest.effective - len(counted)), max(0, round(UNITS * digest.negative) - sum(counted)))


def _part(mass: Mapping[int, int], said: Iterable[int], rest: Part) -> Part:
    counted = [mass[leader] for leader in said if leader in mass]
    return Part(rest.effective + len(counted), rest.negative + sum(counted))
