"""Does any alert know the future, and does any depend on where the recording begins?

``lookahead`` runs again on posts cut off at several times: whatever was decided well before a cut must not change.
``warmup`` runs again with the recording beginning later: a start-up long enough makes no difference. Both follow
freqtrade's analyses of the same purpose.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.backtest.compare import Comparison, compare
from pipeline.backtest.run import run
from pipeline.core.detector_config import DetectorConfig
from pipeline.core.shown import utc
from pipeline.core.trends import PANE_MS
from pipeline.errors import ConfigurationError
from pipeline.events import Alert, ScoredPost
from pipeline.replay.recorded import known_ms
from pipeline.times import DAY_MS

CUTS = 5
WARMUP_DAYS = (3, 7, 14, 28, 56)

Detect = Callable[[Sequence[ScoredPost], DetectorConfig], Sequence[Alert]]


def detect(posts: Sequence[ScoredPost], config: DetectorConfig) -> Sequence[Alert]:
    """Return the alerts of the shipped detector."""
    return run(posts, config).alerts


@dataclass(frozen=True)
class Lookahead:
    """What the analysis found; clean when every list is empty and the model is older than the posts, or its age unknown.

    ``changed``: (cut_ms, alert record) that only one of the two runs gave. ``early``: records given out before their own
    event time, or that show a post from after it, or one that was not available when the pane closed. ``hindsight``: the
    model learned from posts of the span; None where no cut-off date is known.
    """

    cuts_ms: tuple[int, ...]
    changed: tuple[tuple[int, Alert], ...]
    early: tuple[Alert, ...]
    hindsight: bool | None

    @property
    def clean(self) -> bool:
        """Return whether nothing suspicious was found."""
        return not self.changed and not self.early and self.hindsight is not True

    def summary(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "clean": self.clean,
            "cuts_ms": list(self.cuts_ms),
            "changed": [{"cut_ms": cut} | _shown(alert) for cut, alert in self.changed],
            "early": [_shown(alert) for alert in self.early],
            "model_knows_the_span": self.hindsight,
        }


def _shown(alert: Alert) -> dict[str, Any]:
    fields = {"alert_id", "revision", "status", "entity", "event_time_ms"}
    return alert.model_dump(mode="json", include=fields)


def lookahead(
    posts: Sequence[ScoredPost], config: DetectorConfig, model_cutoff_ms: int | None, detector: Detect = detect
) -> Lookahead:
    """Return the analysis. ``model_cutoff_ms``: the last moment the model's training data are from."""
    whole = detector(posts, config)
    cuts = cut_points(posts)
    changed = [(cut, alert) for cut in cuts for alert in _changed(posts, whole, cut, config, detector)]
    hindsight = None if model_cutoff_ms is None or not posts else model_cutoff_ms >= posts[0].event_time_ms
    return Lookahead(cuts, tuple(changed), tuple(too_early(whole, posts, config.out_of_orderness_ms)), hindsight)


def last_moment(dates: str) -> int | None:
    """Return the last millisecond of the year, month or day (ISO) that a text begins with; None where it begins with none."""
    found = re.match(r"(\d{4})(?:-(\d\d))?(?:-(\d\d))?(?!\d)", dates)
    if found is None:
        return None
    year, month, day = found.groups()
    begin = datetime(int(year), int(month or 1), int(day or 1), tzinfo=UTC)
    if day is not None:
        end = begin + timedelta(days=1)
    elif month is not None:
        end = (begin + timedelta(days=31)).replace(day=1)
    else:
        end = begin.replace(year=begin.year + 1)
    return round(end.timestamp() * 1000) - 1


def check_hindsight(model_cutoff_ms: int | None, judged_from_ms: int, allowed: bool) -> None:
    """Refuse to judge scores of a model that learned from the judged span, unless that is allowed."""
    if model_cutoff_ms is None or allowed or model_cutoff_ms < judged_from_ms:
        return
    why = f"the model learned from data up to {utc(model_cutoff_ms)}, and what is judged begins at {utc(judged_from_ms)}"
    raise ConfigurationError(f"--model-cutoff: {why}; judge later posts, or say --allow-hindsight")


def cut_points(posts: Sequence[ScoredPost]) -> tuple[int, ...]:
    """Return times that cut the posts into parts of equal numbers, at pane borders."""
    places = [len(posts) * (k + 1) // (CUTS + 1) for k in range(CUTS)]
    return tuple(sorted({posts[at].event_time_ms // PANE_MS * PANE_MS for at in places if at < len(posts)}))


def _changed(
    posts: Sequence[ScoredPost], whole: Sequence[Alert], cut_ms: int, config: DetectorConfig, detector: Detect
) -> list[Alert]:
    """Return the records up to the cut that differ; both runs may still correct the last allowed lateness."""
    settled = cut_ms - config.allowed_lateness_ms - PANE_MS
    known = [post for post in posts if post.event_time_ms < cut_ms and known_ms(post) < cut_ms]
    full = {_identity(alert): alert for alert in whole if alert.event_time_ms <= settled}
    cut = {_identity(alert): alert for alert in detector(known, config) if alert.event_time_ms <= settled}
    return [side[key] for side, other in ((full, cut), (cut, full)) for key in side if other.get(key) != side[key]]


def _identity(alert: Alert) -> tuple[str, int]:
    return alert.alert_id, alert.revision


def too_early(alerts: Sequence[Alert], posts: Sequence[ScoredPost], out_of_orderness_ms: int) -> list[Alert]:
    """Return alerts said to be available before they happened, or whose evidence came after the alert, by either time.

    A pane closes ``out_of_orderness_ms`` after its end, which is the alert's event time: until then a post may come in. ``posts``
    are in event-time order; of one that has several versions the first counts.
    """
    times = {post.event_id: (post.event_time_ms, known_ms(post)) for post in reversed(posts)}
    return [alert for alert in alerts if _is_early(alert, times, alert.event_time_ms + out_of_orderness_ms)]


def _is_early(alert: Alert, times: Mapping[str, tuple[int, int]], closed_ms: int) -> bool:
    if alert.available_at_ms is not None and alert.available_at_ms < alert.event_time_ms:
        return True
    shown = [times[one.event_id] for one in alert.evidence if one.event_id in times]
    return any(event_time_ms >= alert.event_time_ms or available_ms > closed_ms for event_time_ms, available_ms in shown)


@dataclass(frozen=True)
class WarmupRow:
    """What differs in the evaluated span when the recording begins ``days`` before it, against the whole recording."""

    days: int
    change: Comparison

    def summary(self) -> dict[str, Any]:
        """Return JSON values."""
        counts = {"gained": len(self.change.gained), "lost": len(self.change.lost), "moved": len(self.change.moved)}
        return {"days": self.days, "same": self.change.same} | counts


def warmup(
    posts: Sequence[ScoredPost], config: DetectorConfig, span: tuple[int, int], detector: Detect = detect
) -> list[WarmupRow]:
    """Return a row per start-up length that is shorter than the recording."""
    whole = _within(detector(posts, config), span)
    recorded_days = (span[0] - posts[0].event_time_ms) / DAY_MS if posts else 0.0
    rows = []
    for days in (days for days in WARMUP_DAYS if days < recorded_days):
        later = [post for post in posts if post.event_time_ms >= span[0] - days * DAY_MS]
        rows.append(WarmupRow(days, compare(whole, _within(detector(later, config), span))))
    return rows


def _within(alerts: Sequence[Alert], span: tuple[int, int]) -> list[Alert]:
    return [alert for alert in alerts if span[0] <= alert.event_time_ms < span[1]]
