"""Holding back the notifications of a market's members while the market has an alert, and letting go of what is held back.

All rules are in ``core.inhibition``; what is held and what markets said last is in the delivery log, so a kill changes nothing.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import structlog

from pipeline.core.delivery import HELD_BACK, Delivery, Status
from pipeline.core.explain import ENDED
from pipeline.core.inhibition import MarketWord, hides, word_after
from pipeline.core.silences import Silence, silenced_by
from pipeline.events import Alert, Rule
from pipeline.jobs.notify.desk import Desk

log = structlog.get_logger()


class Inhibitor:
    """Queues deliveries, or holds them back. ``hold_ms``: how long a market's word counts; 0 holds nothing back.

    An endpoint that has heard of an alert hears all of it: only alerts of which it knows nothing are held back.
    """

    def __init__(self, desk: Desk, hold_ms: int) -> None:
        self._desk = desk
        self._hold_ms = hold_ms
        self._words: dict[str, MarketWord] = {}

    def refresh(self) -> None:
        """Take over what markets said last, as far as the log knows: other notifiers read other partitions."""
        self._words = {word.entity: word for word in self.words()}

    def words(self) -> Sequence[MarketWord]:
        """Return what markets said last, as far as it counts. Any thread may ask."""
        return self._desk.log.markets() if self._hold_ms else ()

    def listen(self, alert: Alert) -> None:
        """Remember what a market says, once its own deliveries are queued."""
        known = self._words.get(alert.entity)
        word = word_after(known, alert, self._desk.now_ms())
        if self._hold_ms and word is not None and word != known:
            self._desk.log.set_market(word)
            self._words[word.entity] = word

    def take(self, delivery: Delivery, alert: Alert) -> None:
        """Queue a delivery, or hold it back with the reason in its ``last_answer``."""
        why = self._why_not(delivery, alert, self._words.values())
        if not why:
            self._desk.log.add(delivery)
        elif self._desk.log.hold(_held(delivery, why), ended=alert.status in ENDED):
            self._note(delivery, alert, why)

    def why_not_now(self, delivery: Delivery, words: Iterable[MarketWord]) -> str:
        """Return why a delivery that waited for its group is not to be sent any more: its market has spoken since."""
        return self._why_not(delivery, Alert.model_validate_json(delivery.value), words, frozenset({Status.PENDING}))

    def holds(self, delivery: Delivery, words: Iterable[MarketWord]) -> bool:
        """Hold back a claimed delivery that waited for its group, where its market has spoken since; say whether it has."""
        why = self.why_not_now(delivery, words)
        if why:
            alert = Alert.model_validate_json(delivery.value)
            self._desk.log.store(_held(delivery, why), self._desk.now_ms(), hold=alert.status not in ENDED)
            self._note(delivery, alert, why)
        return bool(why)

    def _note(self, delivery: Delivery, alert: Alert, why: str) -> None:
        self._desk.metrics.count("inhibited_total", reason=Rule.MARKET_WIDE)
        log.info("notification_held_back", id=delivery.delivery_id, entity=alert.entity, why=why)

    def release(self, endpoint: str) -> Counter[Status]:
        """Queue what neither a market nor a silence hides any more; return how many alerts each still holds back."""
        hidden = Counter[Status]()
        held = self._desk.log.held(endpoint)
        if not held:
            return hidden
        self.refresh()
        silences = self._desk.log.silences()
        for delivery in held:
            still = self._still_held(delivery, silences)
            if still is not None:
                hidden[still] += 1
            elif self._desk.log.release(delivery, self._desk.now_ms()):
                self._desk.metrics.count("released_total")
                log.info("notification_released", id=delivery.delivery_id)
        return hidden

    def _still_held(self, delivery: Delivery, silences: Sequence[Silence]) -> Status | None:
        """Return what holds a delivery back now; an alert that was told before is no concern of its market's."""
        alert = Alert.model_validate_json(delivery.value)
        if silenced_by(silences, alert, self._desk.now_ms()) is not None:
            return Status.SILENCED
        if self._hidden_by(alert, delivery.endpoint, self._words.values()) is None or self._desk.steps(delivery) - HELD_BACK:
            return None
        return Status.INHIBITED

    def _hidden_by(self, alert: Alert, endpoint: str, words: Iterable[MarketWord]) -> MarketWord | None:
        """Return the market's word that the endpoint has in place of the alert."""
        now_ms = self._desk.now_ms()
        hiding = (word for word in words if hides(word, alert, now_ms, self._hold_ms))
        return next((word for word in hiding if self._was_told(endpoint, word)), None)

    def _was_told(self, endpoint: str, word: MarketWord) -> bool:
        """Return whether the market's word reaches the endpoint: one that was set later has not heard it."""
        known = self._desk.log.get(endpoint, word.delivery_id)
        return known is not None and known.status is not Status.EXHAUSTED

    def _why_not(
        self, delivery: Delivery, alert: Alert, words: Iterable[MarketWord], itself: frozenset[Status] = frozenset()
    ) -> str:
        """Return why the endpoint is not to hear of it; empty where it is. ``itself``: how it stands in the log, if it does."""
        word, ends = self._hidden_by(alert, delivery.endpoint, words), alert.status in ENDED
        if word is None and not ends:
            return ""
        steps = self._desk.steps(delivery) - itself
        if word is not None and not steps - HELD_BACK:
            return f"{Rule.MARKET_WIDE}: explained by {word.entity} {word.delivery_id}"
        return f"{Rule.MARKET_WIDE}: over before it was told" if ends and steps == {Status.INHIBITED} else ""


def _held(delivery: Delivery, why: str) -> Delivery:
    return delivery.model_copy(update={"status": Status.INHIBITED, "last_answer": why})
