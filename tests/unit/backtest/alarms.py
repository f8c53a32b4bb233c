"""Alerts made by hand."""

from pipeline.events import Alert, AlertReason, AlertStatus, Band, Rule, Severity, WindowEvidence

HOUR_MS = 3_600_000


def alert(alert_id: str, entity: str, time_ms: int, **changes: object) -> Alert:
    """Return an opening; override any field."""
    values: dict[str, object] = {
        "alert_id": alert_id,
        "revision": 0,
        "status": AlertStatus.OPENED,
        "rule": Rule.NEGATIVE_SPIKE,
        "reason": AlertReason.SCORE_ABOVE_THRESHOLD,
        "severity": Severity.INFO,
        "entity": entity,
        "event_time_ms": time_ms,
        "starts_at_ms": time_ms - 300_000,
        "score": 4.0,
        "threshold": 3.0,
        "observed": 5.0,
        "band": Band(low=0.0, expected=1.0, high=2.0),
        "lift": 5.0,
        "negative_share": 0.8,
        "negative_share_before": 0.2,
        "posts": 6,
        "posts_effective": 6.0,
        "authors": 6,
        "clusters": 6,
        "duplicates_removed": 0,
        "baseline_age_ms": 30 * 86_400_000,
        "windows": (
            WindowEvidence(
                size_ms=HOUR_MS, observed=5.0, band=Band(low=0.0, expected=1.0, high=2.0), tail_log10=4.0, share_of_score=1.0
            ),
        ),
        "explanation": "by hand",
        "detector_version": "1",
        "config_hash": "c",
        "model": "m",
        "model_revision": "1",
    }
    return Alert.model_validate(values | changes)
