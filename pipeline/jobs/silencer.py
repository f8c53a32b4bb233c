"""Holding back what a person has silenced, at the moment it would be sent: so a silence counts for what already waits.

All rules are in ``core.silences``; silences and what they hold back are in the delivery log, so a kill changes nothing.
"""

from typing import Final

import structlog

from pipeline.core.delivery import HELD_BACK, Delivery, Status
from pipeline.core.explain import ENDED
from pipeline.core.silences import silenced_by
from pipeline.events import Alert
from pipeline.jobs.desk import Desk

UNTOLD: Final = "silence: over before it was told"

log = structlog.get_logger()


class Silencer:
    """Takes silenced deliveries out of their lanes."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def holds(self, delivery: Delivery, alert: Alert) -> bool:
        """Hold a claimed delivery back where a silence hides its alert; say whether one does.

        It is released after the silence, if its alert is then open or the endpoint has heard of it; so the end of an alert
        of which it has not is never told.
        """
        silence = silenced_by(self._desk.log.silences(), alert, self._desk.now_ms())
        ends = alert.status in ENDED
        if silence is None and not ends:
            return False
        steps = self._desk.steps(delivery) - {Status.PENDING}  # itself
        if silence is None and (not steps or steps - HELD_BACK):
            return False
        why = UNTOLD if silence is None else str(silence)
        held = delivery.model_copy(update={"status": Status.SILENCED, "last_answer": why})
        self._desk.log.store(held, self._desk.now_ms(), hold=not ends or bool(steps - HELD_BACK))
        self._desk.metrics.count("silenced_total")
        log.info("notification_silenced", id=delivery.delivery_id, entity=alert.entity, why=why)
        return True
