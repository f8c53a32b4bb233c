"""From a run and the truth to numbers: precision, recall, lead time, rates, calibration, flood share."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan
from typing import Any

import numpy as np

from pipeline.backtest.detections import DOMINATED, Detection, detections, dominant_share, first_hits, matched
from pipeline.backtest.posts import ByEntity
from pipeline.backtest.prices import Prices
from pipeline.backtest.tiers import NEW, TierRow, tier_of_entity, tier_table
from pipeline.backtest.truth import ALERT_Z, Incident, begun_before, within
from pipeline.events import Alert, Rule
from pipeline.times import DAY_MS, HOUR_MS, MINUTE_MS

NOTICES = frozenset({Rule.COORDINATED_ACTIVITY})
VISIBLE_POSTS = 3
FILE_GRACE_MS = 3 * HOUR_MS  # the detector's longest window: an alert this late is still about the incident


@dataclass(frozen=True)
class Truth:
    """What is known about the evaluated span. ``planted`` wins over ``prices`` where both are given."""

    planted: tuple[Incident, ...] | None = None
    prices: Prices | None = None
    losses: tuple[Incident, ...] = ()


@dataclass(frozen=True)
class Spans:
    """[from, to) of what is evaluated and of what the detector and the tiers may learn from, in epoch milliseconds."""

    test: tuple[int, int]
    train: tuple[int, int]


@dataclass(frozen=True)
class PriceScores:
    """Against prices. ``precision``: alerts whose session has z < -2; ``base``: the same of all sessions with a price."""

    precision: float | None
    base: float | None
    evaluable_alerts: int
    recall: float | None
    visible_recall: float | None
    losses: int
    visible_losses: int


@dataclass(frozen=True)
class Evaluation:
    """The scores of one run. ``found`` are the detections of the span, with what they match; quantiles are (10, 50, 90) %.
    ``is_right`` says of each whether the truth agrees, None where it says nothing. ``incidents`` holds those that begin in the
    span, which recall counts, and behind these the ``begun_before`` that alerts may be right about all the same.
    ``missed_visible`` indexes the incidents that people wrote about and no alert tells of.

    ``lead_time_min`` counts from the first announcement (an alert opens or escalates) to the end of the incident (the close
    of the session, for prices); ``delay_min`` from the beginning of the incident to the first announcement.
    ``chance``: the precision of alerts at random, known where prices judge.
    """

    precision: float | None
    chance: float | None
    recall: float | None
    visible_recall: float | None
    lead_time_min: dict[str, float | None]
    delay_min: dict[str, float | None]
    delays_min: tuple[float, ...]
    alerts: int
    alerts_per_entity_day: float
    tiers: tuple[TierRow, ...]
    flood_share: float | None
    coordinated_notices: int
    prices: PriceScores | None
    incidents: tuple[Incident, ...]
    begun_before: int
    found: tuple[Detection, ...]
    is_right: tuple[bool | None, ...]
    missed_visible: tuple[int, ...]

    @property
    def counted(self) -> tuple[Incident, ...]:
        """Return the incidents that begin in the span."""
        return self.incidents[: len(self.incidents) - self.begun_before]

    def summary(self) -> dict[str, Any]:
        """Return the numbers as JSON values, without the lists behind them.

        Entities that the training span never saw have no tier whose rate could be promised; they stand in ``tiers`` alone.
        """
        return {
            "precision": self.precision,
            "recall": self.recall,
            "visible_recall": self.visible_recall,
            "lead_time_min": self.lead_time_min,
            "delay_min": self.delay_min,
            "alerts": self.alerts,
            "alerts_per_entity_day": self.alerts_per_entity_day,
            "realised_over_target": {row.tier: row.over_target for row in self.tiers if row.tier != NEW},
            "flood_share": self.flood_share,
            "incidents": len(self.counted),
            "coordinated_notices": self.coordinated_notices,
            "prices": None if self.prices is None else asdict(self.prices),
            "tiers": [asdict(row) for row in self.tiers],
        }


def evaluate(alerts: Sequence[Alert], posts: ByEntity, truth: Truth, spans: Spans, target: float) -> Evaluation:
    """Return the scores of the alerts that opened in the test span.

    Entities are those that any post names, so that silent ones count in the rates. For the precision an alert is right that
    matches an incident of the file of truth, also one that began before the span, or without such a file, one in a session
    with an abnormal loss (z < -2); one in a session whose z is not known is neither right nor wrong. Prices cannot say that
    people were not angry: without a file of truth the rates by tier count every alert as false, and are upper bounds.
    """
    opened = _within(detections(alerts), spans.test)
    known, grace_ms = (truth.losses, 0) if truth.planted is None else (truth.planted, FILE_GRACE_MS)
    counted = within(known, *spans.test)
    earlier = begun_before(known, spans.test[0], grace_ms)
    found = matched(opened, counted + earlier, grace_ms)
    is_right = [_is_right(detection, truth) for detection in found]
    judged = [right for right in is_right if right is not None]
    hits = {index: at_ms for index, at_ms in first_hits(found).items() if index < len(counted)}
    targets = [index for index, incident in enumerate(counted) if not incident.is_trap]
    visible = [index for index in targets if is_visible(counted[index], posts)]
    days = len(posts.entities) * (spans.test[1] - spans.test[0]) / DAY_MS
    leads = [(counted[index].to_ms - at_ms) / MINUTE_MS for index, at_ms in hits.items()]
    delays = [(at_ms - counted[index].from_ms) / MINUTE_MS for index, at_ms in hits.items()]
    floods = sum(is_flooded(detection, posts) for detection in found)
    price_scores = None if truth.prices is None else score_by_prices(opened, posts, truth, spans)
    return Evaluation(
        precision=ratio(sum(judged), len(judged)),
        chance=price_scores.base if price_scores is not None and truth.planted is None else None,
        recall=ratio(len(hits), len(targets)),
        visible_recall=ratio(sum(index in hits for index in visible), len(visible)),
        lead_time_min=quantiles(leads),
        delay_min=quantiles(delays),
        delays_min=tuple(delays),
        alerts=len(found),
        alerts_per_entity_day=len(found) / days if days else 0.0,
        tiers=tuple(_tiers(found, truth.planted is not None, posts, spans, target)),
        flood_share=ratio(floods, len(found)),
        coordinated_notices=len(_within(detections(alerts, NOTICES), spans.test)),
        prices=price_scores,
        incidents=counted + earlier,
        begun_before=len(earlier),
        found=tuple(found),
        is_right=tuple(is_right),
        missed_visible=tuple(index for index in visible if index not in hits),
    )


def _within(found: Sequence[Detection], span: tuple[int, int]) -> list[Detection]:
    return [detection for detection in found if span[0] <= detection.at_ms < span[1]]


def _tiers(found: Sequence[Detection], planted: bool, posts: ByEntity, spans: Spans, target: float) -> list[TierRow]:
    alarms = [(d.alert.entity, not planted or not d.hits) for d in found]
    return tier_table(tier_of_entity(posts, *spans.train), posts, spans.test, alarms, target)


def _is_right(detection: Detection, truth: Truth) -> bool | None:
    if truth.planted is not None:
        return bool(detection.hits)
    if truth.prices is None:
        return None
    z = truth.prices.z_at(detection.alert.entity, detection.at_ms)
    return None if isnan(z) else z < ALERT_Z


def is_visible(incident: Incident, posts: ByEntity) -> bool:
    """Return whether at least three distinct posts name the entity during the incident."""
    return len({post.event_id for post in posts.between(incident.entity, incident.from_ms, incident.to_ms)}) >= VISIBLE_POSTS


def is_flooded(detection: Detection, posts: ByEntity) -> bool:
    """Return whether one content holds more than half of the negative mass that the alert looked at, copies counted."""
    longest = max((window.size_ms for window in detection.alert.windows), default=HOUR_MS)
    recent = posts.between(detection.alert.entity, detection.at_ms - longest, detection.at_ms)
    return dominant_share([(int(post.simhash, 16), post.sentiment.negative) for post in recent]) > DOMINATED


def score_by_prices(opened: Sequence[Detection], posts: ByEntity, truth: Truth, spans: Spans) -> PriceScores:
    """Return what prices say about the alerts of the span; alerts without a known z do not count in the precision."""
    prices = truth.prices
    if prices is None:
        raise ValueError("score_by_prices needs prices")
    z = [prices.z_at(d.alert.entity, d.at_ms) for d in opened]
    known = [value for value in z if not isnan(value)]
    losses = within(truth.losses, *spans.test)
    hits = first_hits(matched(opened, losses, 0))
    visible = [index for index, loss in enumerate(losses) if is_visible(loss, posts)]
    first, last = np.searchsorted(prices.closes_ms, spans.test, side="right")
    columns = [prices.column(entity) for entity in posts.entities if prices.column(entity) >= 0]
    sample = prices.z[first:last][:, columns]
    sample = sample[~np.isnan(sample)]
    return PriceScores(
        precision=ratio(sum(value < ALERT_Z for value in known), len(known)),
        base=ratio(int((sample < ALERT_Z).sum()), len(sample)),
        evaluable_alerts=len(known),
        recall=ratio(len(hits), len(losses)),
        visible_recall=ratio(sum(index in hits for index in visible), len(visible)),
        losses=len(losses),
        visible_losses=len(visible),
    )


def ratio(part: int, whole: int) -> float | None:
    """Return part over whole; None where there is nothing to divide by."""
    return part / whole if whole else None


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    """Return the 10 %, 50 % and 90 % quantiles; None where there are no values."""
    if not values:
        return {"p10": None, "p50": None, "p90": None}
    low, mid, high = np.quantile(values, (0.1, 0.5, 0.9))
    return {"p10": float(low), "p50": float(mid), "p90": float(high)}
