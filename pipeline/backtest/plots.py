"""The pictures of a backtest, as PNG bytes. The only place that draws."""

import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pipeline.backtest.daily import Day
from pipeline.backtest.detections import Detection
from pipeline.backtest.event_study import OFFSETS, EventStudy
from pipeline.backtest.operating_points import OperatingPoint
from pipeline.backtest.tiers import TierRow
from pipeline.backtest.truth import Incident
from pipeline.times import DAY_MS

DPI = 100
VOLUME, NEGATIVE, BAND, ALERT, TRUTH = "#9aa7b4", "#c0392b", "#e8c9a8", "#111111", "#5b8c5a"


def entity_picture(entity: str, days: Sequence[Day], found: Sequence[Detection], truth: Sequence[Incident]) -> bytes:
    """Return one entity over the span: posts a day, negatives against the expected band, negative share, alerts, truth.

    Every argument holds what concerns this entity, or this market, alone.
    """
    figure, (volume, negatives, share) = _figure(3, 9.0, 4.2, fitted=False)  # finding the margins takes as long as drawing
    figure.subplots_adjust(left=0.05, right=0.96, top=0.94, bottom=0.06, hspace=0.2)
    edges = _edges(days)
    volume.fill_between(edges, _held([day.posts for day in days]), step="post", color=VOLUME, linewidth=0, label="posts a day")
    volume.set_ylim(bottom=0)
    expected = [day for day in days if day.band is not None]
    if expected:
        low, high = (_held([getattr(day.band, end) for day in expected]) for end in ("low", "high"))
        negatives.fill_between(_edges(expected), low, high, step="post", color=BAND, label="expected of the day, 5 to 95 %")
    mass = _held([day.negative for day in days])
    negatives.step(edges, mass, where="post", color=NEGATIVE, linewidth=1.0, label="negatives a day (mass)")
    shares = [(_moment(day.start_ms + DAY_MS // 2), day.share) for day in days if day.share is not None]
    share.plot([moment for moment, _ in shares], [value for _, value in shares], ".", color=NEGATIVE, markersize=3)
    share.set_ylim(0, 1)
    share.set_title("negative share", loc="right", fontsize=6, pad=3)
    for axis in (volume, negatives, share):
        _mark(axis, found, truth)
    for axis in (volume, negatives):
        axis.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), ncols=4, fontsize=6, frameon=False, borderaxespad=0.0)
    if entity.isascii():  # the font has no Chinese; the page and the name of the file tell too
        volume.set_title(entity, loc="left", fontsize=9)
    return _png(figure)


def _edges(days: Sequence[Day]) -> list[datetime]:
    """Return when each day begins, and when the last one ends."""
    return [_moment(time_ms) for time_ms in (*(day.start_ms for day in days), *(day.start_ms + DAY_MS for day in days[-1:]))]


def _held(values: Sequence[float]) -> list[float]:
    """Return the values with the last one again, for the end of its day."""
    return [*values, *values[-1:]]


def _mark(axis: Any, found: Sequence[Detection], truth: Sequence[Incident]) -> None:
    for number, incident in enumerate(truth):  # its edge keeps an hour visible in half a year
        begin, end = _moment(incident.from_ms), _moment(incident.to_ms)
        axis.axvspan(begin, end, color=TRUTH, alpha=0.4, linewidth=1.5, label=_once("truth", number, axis))
    for number, detection in enumerate(found):
        at = _moment(detection.at_ms)
        axis.axvline(at, color=ALERT, linewidth=0.9, linestyle="--", label=_once("alert", number, axis))


def _once(label: str, number: int, axis: Any) -> str | None:
    """Return the label for the first of its kind, in the topmost axis alone."""
    return label if number == 0 and axis.get_subplotspec().is_first_row() else None


def precision_recall_picture(points: Sequence[OperatingPoint], base: float | None) -> bytes:
    """Return precision against recall of visible incidents; one point per false-alert target."""
    figure, (axis,) = _figure(1, 4.6, 3.4)
    drawn = [p for p in points if p.precision is not None and p.recall is not None]
    axis.plot([p.recall for p in drawn], [p.precision for p in drawn], "o-", color=NEGATIVE, markersize=4)
    for number, p in enumerate(drawn):  # on alternate sides, since neighbours lie close
        side, anchor = ((3, 3), ("left", "bottom")) if number % 2 else ((-3, -3), ("right", "top"))
        place = {"xytext": side, "textcoords": "offset points", "ha": anchor[0], "va": anchor[1]}
        axis.annotate(f"{p.target:g}", (p.recall, p.precision), fontsize=7, **place)
    if base is not None:
        axis.axhline(base, color=VOLUME, linestyle=":", label=f"by chance {base:.3f}")
        axis.legend(fontsize=7, frameon=False)
    axis.set_xlabel("recall of visible incidents", fontsize=8)
    axis.set_ylabel("precision", fontsize=8)
    axis.set_xlim(0, 1.1)
    axis.set_ylim(0, 1.15)
    axis.set_xticks(np.arange(0, 1.1, 0.2))
    axis.set_yticks(np.arange(0, 1.1, 0.2))
    axis.set_title("By false-alert target per entity-day", fontsize=9, loc="left")
    return _png(figure)


def calibration_picture(points: Sequence[OperatingPoint]) -> bytes:
    """Return realised against wanted alerts per entity-day, by tier."""
    figure, (axis,) = _figure(1, 4.6, 3.4)
    tiers = list(points[0].realised) if points else []
    targets = [p.target for p in points]
    for tier in tiers:
        axis.loglog(targets, [max(p.realised.get(tier, 0.0), 1e-5) for p in points], "o-", markersize=4, label=tier)
    if targets:
        ends = np.array([min(targets), max(targets)])
        axis.loglog(ends, ends, color="black", linewidth=0.8)
        axis.fill_between(ends, ends * 0.5, ends * 1.5, color=VOLUME, alpha=0.3, label="0.5 to 1.5 times")
    axis.set_xlabel("wanted per entity-day", fontsize=8)
    axis.set_ylabel("realised per entity-day", fontsize=8)
    axis.legend(fontsize=7, frameon=False)
    axis.set_title("Calibration", fontsize=9, loc="left")
    return _png(figure)


def delay_picture(delays_min: Sequence[float]) -> bytes:
    """Return the histogram of delays from the beginning of an incident to its first alert."""
    figure, (axis,) = _figure(1, 4.6, 3.0)
    axis.hist(delays_min, bins=24, color=VOLUME)
    axis.set_xlabel("minutes from the beginning of an incident to its first alert", fontsize=8)
    axis.set_title(f"Delay of {len(delays_min)} hits", fontsize=9, loc="left")
    return _png(figure)


def event_study_picture(study: EventStudy) -> bytes:
    """Return the mean abnormal return around alerts with the placebo's 90 % band."""
    figure, (axis,) = _figure(1, 4.6, 3.0)
    axis.fill_between(OFFSETS, study.placebo_low * 100, study.placebo_high * 100, color=VOLUME, alpha=0.4, label="placebo, 90 %")
    axis.plot(OFFSETS, study.mean * 100, "o-", color=NEGATIVE, markersize=4, label=f"{study.alerts} alerts")
    axis.axhline(0, color="black", linewidth=0.6)
    axis.set_xlabel("sessions since the alert's session", fontsize=8)
    axis.set_ylabel("abnormal return, %", fontsize=8)
    axis.legend(fontsize=7, frameon=False)
    axis.set_title("Event study", fontsize=9, loc="left")
    return _png(figure)


def tier_picture(rows: Sequence[TierRow]) -> bytes:
    """Return realised over target by tier with 90 % intervals."""
    figure, (axis,) = _figure(1, 4.6, 3.0)
    at = np.arange(len(rows))
    values = np.array([row.over_target for row in rows])
    errors = np.array([[row.over_target - row.low, row.high - row.over_target] for row in rows]).reshape(-1, 2).T
    axis.errorbar(at, values, yerr=np.maximum(errors, 0.0), fmt="o", color=NEGATIVE, capsize=3)
    axis.axhspan(0.5, 1.5, color=VOLUME, alpha=0.3)
    axis.set_xticks(at, [row.tier for row in rows], fontsize=8)
    axis.set_ylabel("realised / target", fontsize=8)
    axis.set_title("False-alert rate by tier, 90 % interval", fontsize=9, loc="left")
    return _png(figure)


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def _figure(rows: int, width: float, height: float, fitted: bool = True) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained" if fitted else None)
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, 1, sharex=rows > 1, squeeze=False).ravel()
    for axis in axes:
        axis.tick_params(labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
