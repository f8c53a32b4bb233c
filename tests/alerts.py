"""Alerts for tests: one plain alert, changed where a test says so."""

from collections.abc import Mapping
from typing import Any

from pipeline.core.delivery import Delivery
from pipeline.events import (
    Alert,
    AlertReason,
    AlertStatus,
    Band,
    Evidence,
    MarketMember,
    MarketWide,
    Rule,
    Severity,
    WindowEvidence,
)

START_MS = 1_704_067_200_000
BAND = Band(low=1.0, expected=3.0, high=7.0)


def make_alert(alert_id: str = "a1", revision: int = 0, **changes: Any) -> Alert:
    values: dict[str, Any] = {
        "alert_id": alert_id,
        "revision": revision,
        "event_time_ms": START_MS + 900_000,
        "status": AlertStatus.OPENED if revision == 0 else AlertStatus.UPDATED,
        "rule": Rule.NEGATIVE_SPIKE,
        "reason": AlertReason.SCORE_ABOVE_THRESHOLD,
        "severity": Severity.WARNING,
        "entity": "ACME",
        "starts_at_ms": START_MS,
        "score": 6.5,
        "threshold": 4.0,
        "observed": 21.0,
        "band": BAND,
        "lift": 7.0,
        "negative_share": 0.8,
        "negative_share_before": 0.2,
        "posts": 30,
        "posts_effective": 27.5,
        "authors": 25,
        "clusters": 24,
        "duplicates_removed": 3,
        "baseline_age_ms": 86_400_000,
        "windows": (WindowEvidence(size_ms=900_000, observed=21.0, band=BAND, tail_log10=-7.5, share_of_score=0.6),),
        "evidence": (
            Evidence(event_id="p1", text="ACME recalls 糟糕", author_id="u1", event_time_ms=START_MS, negative=0.97, count=2),
        ),
        "explanation": "21 negative posts in 15 minutes where 3 were expected",
        "detector_version": "test",
        "config_hash": "0" * 16,
        "model": "fake",
        "model_revision": "1",
    }
    return Alert(**(values | changes))


def make_market_alert(members: Mapping[str, bool], revision: int = 0, alert_id: str = "m1", **changes: Any) -> Alert:
    """Return a step of a market's alert that names these members, and of each whether it stands out beyond the market."""
    told = tuple(
        MarketMember(entity=name, observed=4.0, expected=1.0, residual=6.0 if own else 2.0, threshold=4.0, own=own)
        for name, own in members.items()
    )
    market = MarketWide(factor=2.0, entities=40, exceeding=len(told), members=told)
    values: dict[str, Any] = {"rule": Rule.MARKET_WIDE, "entity": "market:all", "market": market}
    return make_alert(alert_id, revision, **(values | changes))


def make_delivery(alert: Alert | None = None, endpoint: str = "e1", offset: int = 0, **changes: Any) -> Delivery:
    alert = alert or make_alert()
    values: dict[str, Any] = {
        "endpoint": endpoint,
        "delivery_id": alert.delivery_id,
        "alert_id": alert.alert_id,
        "revision": alert.revision,
        "key": alert.entity.encode(),
        "value": alert.to_json(),
        "topic": "alerts",
        "partition": 0,
        "offset": offset,
        "timestamp_ms": alert.event_time_ms,
        "first_seen_ms": 1_000,
        "next_attempt_ms": 1_000,
    }
    return Delivery(**(values | changes))
