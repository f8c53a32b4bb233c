"""One self-contained HTML page: every number and picture of a backtest, readable without a network."""

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from pipeline.backtest import plots
from pipeline.backtest.evaluate import Evaluation
from pipeline.backtest.event_study import EventStudy
from pipeline.backtest.operating_points import OperatingPoint
from pipeline.backtest.tiers import TierRow
from pipeline.events import Trend

MOST_ENTITIES = 40

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: .6rem 0; }
td, th { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #eee; }
td:first-child, th:first-child { text-align: left; } img { max-width: 100%; } .row { display: flex; flex-wrap: wrap; gap: 1rem; }
pre { background: #f6f6f4; padding: .7rem; overflow-x: auto; font-size: 12px; } .note { color: #666; font-size: 13px; }
"""


@dataclass(frozen=True)
class ReportInput:
    """Everything the page shows. ``provenance``: hashes, versions, spans, configuration."""

    title: str
    scores: Evaluation
    trends: tuple[Trend, ...]
    points: tuple[OperatingPoint, ...]
    study: EventStudy | None
    provenance: dict[str, Any]


def render(report: ReportInput) -> str:
    """Return the page. It holds no text of any post."""
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        _headline(report.scores),
        _curves(report),
        _tiers(report.scores.tiers),
        _event_study(report.study),
        _entities(report),
        f"<h2>Provenance</h2><pre>{escape(json.dumps(report.provenance, indent=2, ensure_ascii=False))}</pre>",
    ]
    head = f'<meta charset="utf-8"><title>{escape(report.title)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _headline(scores: Evaluation) -> str:
    lead = scores.lead_time_min
    rows = [
        ("alerts", _number(scores.alerts)),
        ("alerts per entity-day", _number(scores.alerts_per_entity_day)),
        ("precision", _number(scores.precision)),
        ("recall, all incidents", _number(scores.recall)),
        ("recall, visible incidents (at least three posts)", _number(scores.visible_recall)),
        ("lead time before the end of the incident, minutes (10, 50, 90 %)", ", ".join(_number(lead[q]) for q in lead)),
        ("alerts dominated by one content", _number(scores.flood_share)),
        ("notices of coordinated activity", _number(scores.coordinated_notices)),
    ]
    if scores.prices is not None:
        rows += [
            ("precision on sessions with abnormal return z < -2", _number(scores.prices.precision)),
            ("the same by chance", _number(scores.prices.base)),
            ("losses z < -3; visible ones", f"{scores.prices.losses}; {scores.prices.visible_losses}"),
        ]
    return "<h2>Scores</h2>" + _table(("measure", "value"), rows)


def _curves(report: ReportInput) -> str:
    base = None if report.scores.prices is None else report.scores.prices.base
    pictures = []
    if report.points:
        pictures += [plots.precision_recall_picture(report.points, base), plots.calibration_picture(report.points)]
    pictures.append(plots.delay_picture(report.scores.delays_min))
    rows = [(f"{p.target:g}", p.alerts, _number(p.precision), _number(p.recall)) for p in report.points]
    table = _table(("target per entity-day", "alerts", "precision", "visible recall"), rows) if rows else ""
    return f'<h2>Precision, recall, calibration, delay</h2><div class="row">{"".join(map(_image, pictures))}</div>{table}'


def _tiers(rows: Sequence[TierRow]) -> str:
    head = ("tier", "entities", "posts per day", "alerts", "false alerts", "entity-days", "realised / target", "90 % interval")
    cells = [
        (
            row.tier, row.entities, f"{row.posts_per_day:.2f}", row.alerts, row.false_alerts, f"{row.entity_days:.0f}",
            f"{row.over_target:.2f}", f"{row.low:.2f} to {row.high:.2f}",
        )
        for row in rows
    ]  # fmt: skip
    note = (
        '<p class="note">Tiers by posts in the training span. Without a file of truth every alert counts as false here, '
        "real ones too, so that the rates are upper bounds.</p>"
    )
    return "<h2>Volume tiers</h2>" + _table(head, cells) + _image(plots.tier_picture(rows)) + note


def _event_study(study: EventStudy | None) -> str:
    if study is None:
        return ""
    text = (
        f"Mean abnormal return of the alert's own session {study.mean[5] * 100:.2f} %; as low on {study.p_same_day:.3f} of "
        "1,000 placebo draws (same entity, other sessions). Posts of a session may follow the move: confirmation, not prediction."
    )
    return f"<h2>Event study</h2>{_image(plots.event_study_picture(study))}<p>{text}</p>"


def _entities(report: ReportInput) -> str:
    alerted = sorted({detection.alert.entity for detection in report.scores.found})
    shown = alerted[:MOST_ENTITIES]
    by_entity: dict[str, list[Trend]] = {entity: [] for entity in shown}
    for trend in report.trends:
        if trend.entity in by_entity:
            by_entity[trend.entity].append(trend)
    images = [
        plots.entity_picture(
            entity,
            by_entity[entity],
            [d for d in report.scores.found if d.alert.entity == entity],
            [incident for incident in report.scores.incidents if incident.entity == entity],
        )
        for entity in shown
    ]
    more = f'<p class="note">{len(alerted) - len(shown)} more not drawn.</p>' if len(alerted) > len(shown) else ""
    legend = '<p class="note">Dashed: alerts. Green: truth.</p>'
    return f"<h2>Alerted entities ({len(alerted)})</h2>{legend}{''.join(map(_image, images))}{more}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _image(png: bytes) -> str:
    return f'<img alt="" src="data:image/png;base64,{b64encode(png).decode()}">'


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
