"""Holding back what a person has silenced, at the moment it would be sent: so a silence counts for what already waits.

All rules are in ``core.silences``; silences and what they hold back are in the delivery log, so a kill changes nothing.
"""

from collections.abc import Sequence
from typing import Final

import structlog

from pipeline.core.delivery import HELD_BACK, Delivery, Status
from pipeline.core.explain import ENDED
from pipeline.core.silences import Silence, silenced_by
from pipeline.events import Alert
from pipeline.jobs.notify.desk import Desk

UNTOLD: Final = "silence: over before it was told"

log = structlog.get_logger()


class Silencer:
    """Takes silenced deliveries out of their lanes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def why_not(self, delivery: Delivery, silences: Sequence[Silence]) -> str:
        """Return why a pending delivery is not to be sent now: a silence hides it, or hid all of an alert that ends with it."""
        alert = Alert.model_validate_json(delivery.value)
        silence = silenced_by(silences, alert, self._desk.now_ms())
        if silence is not None:
            return str(silence)
        steps = self._earlier(delivery) if alert.status in ENDED else set[Status]()
        return UNTOLD if Status.SILENCED in steps and not steps - HELD_BACK else ""

    def holds(self, delivery: Delivery, silences: Sequence[Silence]) -> bool:
        """Hold a claimed delivery back where it is not to be sent now; say whether it was.

        It is released after the silence, if its alert is then open or the endpoint has heard of it; so the end of an alert
        of which it has not is never told.
        """
        why = self.why_not(delivery, silences)
        if not why:
            return False
        alert = Alert.model_validate_json(delivery.value)
        held = delivery.model_copy(update={"status": Status.SILENCED, "last_answer": why})
        releasable = alert.status not in ENDED or bool(self._earlier(delivery) - HELD_BACK)
        self._desk.log.store(held, self._desk.now_ms(), hold=releasable)
        self._desk.metrics.count("silenced_total")
        log.info("notification_silenced", id=delivery.delivery_id, entity=alert.entity, why=why)
        return True

    def _earlier(self, delivery: Delivery) -> set[Status]:
        return self._desk.steps(delivery) - {Status.PENDING}  # itself
