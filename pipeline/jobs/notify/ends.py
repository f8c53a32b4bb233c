"""Not sending the end of an alert of which the endpoint has not heard, for it would close what was never opened there.

Asked when an end would be sent, for only then is it known what became of the steps before it. The rule is in ``core.delivery``.
"""

from collections.abc import Set
from typing import Final

import structlog

from pipeline.core.delivery import Delivery, Status, end_goes_to, untold_letter
from pipeline.core.explain import ENDED
from pipeline.events import Alert
from pipeline.jobs.notify.desk import Desk

UNHEARD: Final = "unheard"
WHY: Final = {
    Status.INHIBITED: f"{UNHEARD}: over before this endpoint was told",
    Status.EXHAUSTED: f"{UNHEARD}: the steps before it did not arrive",
}

log = structlog.get_logger()


class Ends:
    """Takes such ends of one endpoint out of their lanes. ``name``: of the endpoint, for people."""

    def __init__(self, desk: Desk, name: str) -> None:
        self._desk = desk
        self._name = name

    def untold(self, delivery: Delivery) -> Status | None:
        """Return where a pending delivery goes instead of out, None where it is to be sent."""
        alert = Alert.model_validate_json(delivery.value)
        return end_goes_to(self._earlier(delivery)) if alert.status in ENDED else None

    def holds(self, delivery: Delivery) -> bool:
        """Keep a claimed delivery where it is not to be sent; say whether it was.

        Where the steps before it are dead letters it becomes one too, so that they can be sent again together.
        """
        status = self.untold(delivery)
        if status is None:
            return False
        held = delivery.model_copy(update={"status": status, "last_answer": WHY[status]})
        if status is Status.EXHAUSTED:
            self._desk.letters.write(untold_letter(held, self._name))
        self._desk.log.store(held, self._desk.now_ms())
        self._desk.metrics.count("inhibited_total", reason=UNHEARD)
        log.info("notification_held_back", id=delivery.delivery_id, to=self._name, why=held.last_answer)
        return True

    def _earlier(self, delivery: Delivery) -> Set[Status]:
        return self._desk.steps(delivery) - {Status.PENDING}  # itself
