"""An old pane in a third of the room: its numbers in one run of bytes, beside the words of the one content that is left.

A busy entity keeps hundreds of panes for its longest window, and few of them are ever looked into again: windows are
differences of ``through``, and authors are asked for until enough are found.
"""

from array import array
from struct import Struct
from typing import NamedTuple

from pipeline.core.panes import Content, Pane, Totals

_THROUGH = Struct("<4q")
_NUMBERS = Struct("<4qqIIddIII?QIdq")  # running totals, the pane from start to clusters, frozen, content; authors follow


class PackedPane(NamedTuple):
    """What ``packed`` made of a pane with one content; its words are not copied."""

    numbers: bytes
    event_id: str
    author_id: str
    text: str
    url: str
    model: str
    model_revision: str

    @property
    def through(self) -> Totals:
        """Return the running totals up to and with this pane."""
        return Totals(*_THROUGH.unpack_from(self.numbers))

    @property
    def authors(self) -> tuple[int, ...]:
        """Return the authors that are left."""
        return tuple(array("I", self.numbers[_NUMBERS.size :]))


def packed(pane: Pane) -> Pane | PackedPane:
    """Return the pane packed; as it is, where it has not just one content."""
    if len(pane.contents) != 1:
        return pane
    content = pane.contents[0]
    numbers = _NUMBERS.pack(
        *pane.through, pane.start_ms, pane.posts, pane.effective, pane.negative, pane.positive, pane.young, pane.late,
        pane.clusters, pane.frozen, *content[:4],
    )  # fmt: skip
    return PackedPane(numbers + array("I", pane.authors).tobytes(), *content[4:], pane.model, pane.model_revision)


def whole(pane: Pane | PackedPane) -> Pane:
    """Return what ``packed`` was given."""
    if isinstance(pane, Pane):
        return pane
    values = _NUMBERS.unpack_from(pane.numbers)
    content = Content._make((*values[13:], pane.event_id, pane.author_id, pane.text, pane.url))
    words = (pane.authors, (content,), pane.model, pane.model_revision)
    fields = (*values[4:12], *words, Totals(*values[:4]), values[12])
    return Pane(*fields)
