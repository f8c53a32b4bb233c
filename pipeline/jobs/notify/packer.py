"""Choosing what one webhook is about: one delivery, or several of one group; and leaving out what is not to be sent any more.

All rules are in ``core.grouping``. What goes together is sealed in the delivery log before it is sent.
"""

import threading
from collections.abc import Sequence
from typing import Final

from pipeline.core.delivery import Delivery
from pipeline.core.grouping import fitting, may_join
from pipeline.core.inhibition import MarketWord
from pipeline.core.silences import Silence
from pipeline.jobs.notify.desk import Desk
from pipeline.jobs.notify.ends import Ends
from pipeline.jobs.notify.inhibitor import Inhibitor
from pipeline.jobs.notify.silencer import Silencer

LOOKED_AT: Final = 1_000  # alerts that wait for an endpoint, of which those of the leader's group are taken


class Packer:
    """Takes what is due for one endpoint. Its senders take turns, so that a group is not torn apart between them."""

    def __init__(self, desk: Desk, endpoint: str, inhibitor: Inhibitor, ends: Ends) -> None:
        self._log = desk.log
        self._lease_ms = desk.lease_ms
        self._endpoint = endpoint
        self._inhibitor = inhibitor
        self._silencer = Silencer(desk)
        self._ends = ends
        self._turn = threading.Lock()

    def take(self, now_ms: int) -> Sequence[Delivery] | None:
        """Claim what goes into one webhook, the leader first; nothing where it is held back, None where nothing is due."""
        with self._turn:
            leader = self._log.claim(self._endpoint, now_ms, self._lease_ms)
            return None if leader is None else self._packed(leader, self._log.silences(), now_ms)

    def _packed(self, leader: Delivery, silences: Sequence[Silence], now_ms: int) -> Sequence[Delivery]:
        if leader.members is not None:
            known = (self._log.get(self._endpoint, delivery_id) for delivery_id in leader.members)
            members = [member for member in known if member is not None]
            if not any(self._silencer.why_not(each, silences) for each in (leader, *members)):
                return leader, *members
            leader = self._log.unseal(leader, members, now_ms)
        if self._silencer.holds(leader, silences) or self._ends.holds(leader):
            return ()
        return self._with_group(leader, silences) if leader.group is not None and leader.attempts == 0 else (leader,)

    def _with_group(self, leader: Delivery, silences: Sequence[Silence]) -> Sequence[Delivery]:
        words = self._inhibitor.words()
        if self._inhibitor.holds(leader, words):
            return ()
        heads = self._log.waiting_heads(self._endpoint, LOOKED_AT)
        free = (each for each in heads if may_join(leader, each) and self._goes_out(each, silences, words))
        return self._sealed(leader, list(fitting(leader, list(free))))

    def _goes_out(self, delivery: Delivery, silences: Sequence[Silence], words: Sequence[MarketWord]) -> bool:
        if self._silencer.why_not(delivery, silences) or self._inhibitor.why_not_now(delivery, words):
            return False
        return self._ends.untold(delivery) is None

    def _sealed(self, leader: Delivery, members: Sequence[Delivery]) -> Sequence[Delivery]:
        """Seal the members to the leader, or it alone: or it could go again in another webhook after a kill."""
        for chosen in (members, ()):  # another notifier may have taken some meanwhile
            sealed = leader.model_copy(update={"members": tuple(member.delivery_id for member in chosen)})
            if self._log.seal(sealed, chosen):
                return sealed, *chosen
        return ()
