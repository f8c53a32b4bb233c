"""Scored posts of a run that is not done yet, turn by turn, so that an interrupted scoring goes on where it stood.

Lines of JSON: the scored posts of a turn, dead letters of those that cannot be scored, and one mark that says how many raw
posts they came from. What stands behind the
last mark was cut off in the middle and is scored again. One run at a time holds the file; another waits for it.
"""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Self

from pipeline.events import DeadLetter, ScoredPost

MARK: Final = b'{"raw_posts":'
LETTER: Final = b'{"dead_letter":'


@dataclass(slots=True)
class Journal:
    """An open journal. ``raw_posts`` are done; ``refused`` of them cannot be scored, the first for ``why``."""

    file: IO[bytes]
    raw_posts: int = 0
    refused: int = 0
    why: str = ""

    @classmethod
    def over(cls, file: IO[bytes]) -> Self:
        """Return the journal of what a file holds, less what stands behind its last mark."""
        journal, whole, read = cls(file), 0, 0
        for line in file:
            read += len(line)
            if line.startswith(MARK) and line.endswith(b"\n"):
                journal.raw_posts, journal.refused, journal.why = json.loads(line).values()
                whole = read
        file.truncate(whole)
        return journal

    def add(self, raw_posts: int, posts: Sequence[ScoredPost], refused: Sequence[DeadLetter]) -> None:
        """Write what one more turn gave."""
        self.raw_posts += raw_posts
        self.refused += len(refused)
        if refused and not self.why:
            self.why = f"{refused[0].field} = {refused[0].value}: {refused[0].reason}; {refused[0].fix}"
        self.file.writelines(post.to_json() + b"\n" for post in posts)
        self.file.writelines(LETTER + letter.to_json() + b"}\n" for letter in refused)
        mark = {"raw_posts": self.raw_posts, "refused": self.refused, "why": self.why}
        self.file.write(json.dumps(mark, separators=(",", ":")).encode() + b"\n")
        self.file.flush()

    def posts(self) -> Iterator[ScoredPost]:
        """Yield every scored post, in the order of writing."""
        self.file.seek(0)
        for line in self.file:
            if not line.startswith((MARK, LETTER)):
                yield ScoredPost.model_validate_json(line)

    def letters(self) -> Iterator[bytes]:
        """Yield every dead letter as JSON, in the order of writing."""
        self.file.seek(0)
        for line in self.file:
            if line.startswith(LETTER):
                yield line.removeprefix(LETTER).removesuffix(b"}\n")


@contextmanager
def journal_of(target: Path) -> Iterator[Journal]:
    """Yield the journal beside ``target``; it goes when ``target`` stands or it holds nothing. Waits while another run has it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f"{target.name}.journal")
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        journal = Journal.over(file)
        try:
            yield journal
        finally:
            if target.is_file() or not journal.raw_posts:
                path.unlink(missing_ok=True)
