"""What one refresh of a view shows, and the profiles that it follows."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from pipeline.core.rolling import Direction, Profile, serving_vector
from pipeline.demo.receiver import Webhooked
from pipeline.demo.tally import Tally
from pipeline.inprocess import Accounting, Incoming
from pipeline.topics import EVENTS

MOVERS: Final = 6


@dataclass(frozen=True, slots=True)
class Mover:
    """A user whose profile changed: ``turned`` is the cosine distance from where it pointed when first seen."""

    user_id: str
    events: int
    turned: float
    newest: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Everything that one refresh shows, beside the tally."""

    accounting: Accounting
    seconds: float
    movers: tuple[Mover, ...]
    profiles: int
    webhooks: tuple[Webhooked, ...]


class View(Protocol):
    """Where frames go: the live terminal, one progress line, or nothing."""

    def show(self, frame: Frame, tally: Tally) -> None:
        """Show one frame."""


class ProfileWatch:
    """Follows the users of the latest records, and remembers where their profiles pointed when first seen."""

    def __init__(self) -> None:
        self._first: dict[str, Direction] = {}
        self._latest: deque[str] = deque(maxlen=MOVERS)

    def note(self, batch: Iterable[Incoming], tally: Tally) -> None:
        """Note who acted: the users of a batch's events, and the authors who write most."""
        clickers = [record.key.decode("utf-8", "replace") for record in batch if record.topic == EVENTS.name]
        authors = [author for author, _ in tally.authors.most_common(MOVERS // 2)]
        for user_id in [*authors, *clickers[-MOVERS:]]:
            if user_id not in self._latest:
                self._latest.append(user_id)

    def movers(self, profile_of: Callable[[str], Profile | None]) -> tuple[Mover, ...]:
        """Return the followed users with how far their profiles turned."""
        found = ((user_id, profile_of(user_id)) for user_id in self._latest)
        return tuple(self._mover(user_id, profile) for user_id, profile in found if profile is not None)

    def _mover(self, user_id: str, profile: Profile) -> Mover:
        now = serving_vector(profile)
        first = self._first.setdefault(user_id, now)
        turned = max(0.0, 1.0 - float(np.dot(first, now)))
        return Mover(user_id, profile.events, turned, profile.recents[-1].title if profile.recents else "")
