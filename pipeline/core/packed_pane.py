"""An old pane in a third of the room: one run of bytes, which is also how a state keeps it on disk.

A busy entity keeps hundreds of panes for its longest window, and few of them are ever looked into again: windows are
differences of ``through``, and authors are asked for until enough are found. So states are written and read without unpacking
them. Whoever changes these bytes therefore raises ``entity_state.STATE_VERSION``.
"""

from itertools import accumulate, pairwise
from struct import Struct, pack, unpack_from

from pipeline.core.panes import Content, Pane, Totals

_THROUGH = Struct("<4q")
_PANE = Struct("<4qqIIddIII?IIBB")  # totals, start to frozen, characters of two words, how many authors and contents follow
_CONTENT = Struct("<QIdqIIII")  # a content, and the characters of its four words; behind all of these the words themselves
_UTF_8 = ("utf-8", "surrogatepass")


class PackedPane(bytes):
    """What ``packed`` made of a pane."""

    __slots__ = ()

    @property
    def start_ms(self) -> int:
        """Return the start of the pane."""
        start_ms: int = _PANE.unpack_from(self)[4]
        return start_ms

    @property
    def through(self) -> Totals:
        """Return the running totals up to and with this pane."""
        return Totals(*_THROUGH.unpack_from(self))

    @property
    def authors(self) -> tuple[int, ...]:
        """Return the authors that are left."""
        return unpack_from(f"<{self[_PANE.size - 2]}I", self, _PANE.size)


def packed(pane: Pane) -> PackedPane:
    """Return the pane packed; at most 255 contents and authors, so a thinned one."""
    model, revision, authors, contents = pane.model, pane.model_revision, pane.authors, pane.contents
    numbers = _PANE.pack(
        *pane.through, pane.start_ms, pane.posts, pane.effective, pane.negative, pane.positive, pane.young, pane.late,
        pane.clusters, pane.frozen, len(model), len(revision), len(authors), len(contents),
    )  # fmt: skip
    parts = [numbers, pack(f"<{len(authors)}I", *authors)]
    words = [model, revision]
    for content in contents:
        said = content[4:]
        parts.append(_CONTENT.pack(*content[:4], *map(len, said)))
        words += said
    return PackedPane(b"".join((*parts, "".join(words).encode(*_UTF_8))))


def whole(pane: Pane | PackedPane) -> Pane:
    """Return what ``packed`` was given."""
    if isinstance(pane, Pane):
        return pane
    *values, frozen, model, revision, authors, count = _PANE.unpack_from(pane)
    at = _PANE.size + 4 * authors
    words_at = at + _CONTENT.size * count
    numbers = list(_CONTENT.iter_unpack(pane[at:words_at]))
    ends = accumulate([model, revision, *[size for each in numbers for size in each[4:]]], initial=0)
    text = pane[words_at:].decode(*_UTF_8)
    words = [text[begin:end] for begin, end in pairwise(ends)]
    contents = [Content._make((*each[:4], *words[4 * n + 2 : 4 * n + 6])) for n, each in enumerate(numbers)]
    fields = (*values[4:], pane.authors, tuple(contents), *words[:2], Totals(*values[:4]), frozen)
    return Pane(*fields)
