"""Inhibition, decided: which notification is held back because the alert of its market has said it already.

As in Alertmanager a source mutes its targets while it is open; here the source is an alert of the rule ``market_wide`` and the
targets are alerts about the mood of the members it names. It hides only what it told: a member that it does not name, or that
it names as standing out beyond the market, is never hidden; nor is anything more severe than the market's own alert, so that
whoever is woken by warnings, or by critical ones alone, misses none of them.
"""

from pipeline.contract import Contract
from pipeline.core.alerts import MOODS, SEVERITIES
from pipeline.core.explain import ENDED
from pipeline.events import Alert, Severity, delivery_id


class MarketWord(Contract):
    """The latest word of one market's alert, as far as it is about others.

    ``explained``: the members that it has named so far, without those that by its latest word stand out beyond the market.
    ``heard_ms``: when the notifier read it, in processing time.
    """

    entity: str
    alert_id: str
    revision: int
    event_time_ms: int
    heard_ms: int
    severity: Severity
    is_open: bool
    explained: tuple[str, ...]

    @property
    def delivery_id(self) -> str:
        """Return the id under which receivers know this word."""
        return delivery_id(self.alert_id, self.revision)


def word_after(known: MarketWord | None, alert: Alert, now_ms: int) -> MarketWord | None:
    """Return what a market has said last, after one more alert: ``known``, if the alert is old or about no market."""
    if alert.market is None or (known is not None and not _is_newer(alert, known)):
        return known
    before = known.explained if known is not None and known.alert_id == alert.alert_id else ()
    own = {member.entity for member in alert.market.members if member.own}
    return MarketWord(
        entity=alert.entity,
        alert_id=alert.alert_id,
        revision=alert.revision,
        event_time_ms=alert.event_time_ms,
        heard_ms=now_ms,
        severity=alert.severity,
        is_open=alert.status not in ENDED,
        explained=tuple(sorted({*before, *(member.entity for member in alert.market.members)} - own)),
    )


def _is_newer(alert: Alert, known: MarketWord) -> bool:
    """Return whether the alert is a later step of the known one, or another one that began since."""
    if alert.alert_id == known.alert_id:
        return alert.revision > known.revision
    return alert.status not in ENDED and alert.event_time_ms >= known.event_time_ms


def hides(word: MarketWord, alert: Alert, now_ms: int, hold_ms: int) -> bool:
    """Return whether the market's alert says what the other one would.

    A market of which nothing was heard for ``hold_ms`` hides nothing: its alert may have lost the stage that would end it.
    """
    told = word.is_open and now_ms - word.heard_ms < hold_ms and alert.entity in word.explained
    return told and alert.rule in MOODS and SEVERITIES.index(alert.severity) <= SEVERITIES.index(word.severity)
