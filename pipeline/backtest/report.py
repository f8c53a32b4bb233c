"""One self-contained HTML page: every number and picture of a backtest, readable without a network."""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.adapters.json_lines import write_lines
from pipeline.backtest import plots
from pipeline.backtest.daily import Day, by_day
from pipeline.backtest.detections import Detection
from pipeline.backtest.evaluate import Evaluation
from pipeline.backtest.event_study import DRAWS, EventStudy
from pipeline.backtest.market import MarketAlert
from pipeline.backtest.operating_points import OperatingPoint
from pipeline.backtest.session import PAGE, PICTURES
from pipeline.backtest.tiers import TierRow
from pipeline.core.explain import ENDED
from pipeline.core.prior import Prior
from pipeline.core.shown import utc
from pipeline.events import Trend

MOST_ENTITIES = 40
MOST_NAME_CHARS = 200  # a file system takes 255 bytes
ENTITY = "entity-"
RIGHT = {True: "yes", False: "no", None: "–"}

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; margin: .6rem 0; }
td, th { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #eee; }
h3 { font-size: 1rem; margin: 1rem 0 0; }
td:first-child, th:first-child { text-align: left; } img { max-width: 100%; } .row { display: flex; flex-wrap: wrap; gap: 1rem; }
pre { background: #f6f6f4; padding: .7rem; overflow-x: auto; font-size: 12px; } .note { color: #666; font-size: 13px; }
"""


@dataclass(frozen=True)
class ReportInput:
    """Everything the page shows. ``trends``: see ``by_day``. ``provenance``: hashes, versions, spans, configuration.

    ``market``: what markets said, None where nobody asked; ``market_days``: the days of each.
    """

    title: str
    scores: Evaluation
    trends: tuple[Trend, ...]
    span: tuple[int, int]
    prior: Prior
    points: tuple[OperatingPoint, ...]
    study: EventStudy | None
    provenance: dict[str, Any]
    market: Sequence[MarketAlert] | None = None
    market_days: Mapping[str, Sequence[Day]] = field(default_factory=dict)


def pictures(report: ReportInput) -> dict[str, bytes]:
    """Return the PNG pictures by name, in the order of the page; those of entities are ``entity-NAME``."""
    scores = report.scores
    found = {"delay": plots.delay_picture(scores.delays_min), "tiers": plots.tier_picture(scores.tiers)}
    if report.points:
        found["precision-recall"] = plots.precision_recall_picture(report.points, scores.chance)
        found["calibration"] = plots.calibration_picture(report.points)
    if report.study is not None:
        found["event-study"] = plots.event_study_picture(report.study)
    for group, days in report.market_days.items():
        alerts = [Detection(each.opened, each.peak.score) for each in report.market or () if each.opened.entity == group]
        found[_of_market(group)] = plots.entity_picture(group, days, alerts, ())
    by_entity: dict[str, list[Trend]] = {entity: [] for entity in worth_showing(scores)[:MOST_ENTITIES]}
    for trend in report.trends:
        if trend.entity in by_entity:
            by_entity[trend.entity].append(trend)
    for entity, trends in by_entity.items():
        alerts = [detection for detection in scores.found if detection.alert.entity == entity]
        truth = [incident for incident in scores.counted if incident.entity == entity]
        found[ENTITY + entity] = plots.entity_picture(entity, by_day(trends, report.span, report.prior), alerts, truth)
    return found


def write_report(report: ReportInput, out: Path, as_page: bool, as_files: bool) -> None:
    """Write OUT/report.html, the pictures as OUT/pictures/NAME.png, or both; they are drawn once."""
    drawn = pictures(report)
    if as_page:
        write_lines(out / PAGE, [render(report, drawn).encode()])
    if as_files:
        write_pictures(drawn, out / PICTURES)


def write_pictures(drawn: Mapping[str, bytes], folder: Path) -> None:
    """Write each picture as NAME.png; what cannot stand in a file name is percent-encoded, what is too long ends in its hash."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, png in drawn.items():
        (folder / f"{_file_name(name)}.png").write_bytes(png)


def _file_name(name: str) -> str:
    encoded = quote(name, safe="")
    if len(encoded) <= MOST_NAME_CHARS:
        return encoded
    return f"{encoded[:MOST_NAME_CHARS]}-{sha256(name.encode()).hexdigest()[:12]}"


def worth_showing(scores: Evaluation) -> list[str]:
    """Return the entities worth a picture: those with alerts, then those whose visible incidents none told about."""
    alerted = {detection.alert.entity for detection in scores.found}
    missed = {scores.incidents[index].entity for index in scores.missed_visible}
    return [*sorted(alerted), *sorted(missed - alerted)]


def render(report: ReportInput, drawn: Mapping[str, bytes]) -> str:
    """Return the page with its ``pictures``. It holds no text of any post."""
    parts = [
        f"<h1>{escape(report.title)}</h1>",
        _headline(report.scores),
        _curves(report.points, drawn),
        _tiers(report.scores.tiers, drawn),
        _event_study(report.study, drawn),
        _alerts(report.scores),
        _market(report, drawn),
        _entities(report.scores, drawn),
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


def _curves(points: Sequence[OperatingPoint], drawn: Mapping[str, bytes]) -> str:
    images = "".join(_image(drawn, name) for name in ("precision-recall", "calibration", "delay") if name in drawn)
    rows = [(f"{p.target:g}", p.alerts, _number(p.precision), _number(p.recall)) for p in points]
    table = _table(("target per entity-day", "alerts", "precision", "visible recall"), rows) if rows else ""
    return f'<h2>Precision, recall, calibration, delay</h2><div class="row">{images}</div>{table}'


def _tiers(rows: Sequence[TierRow], drawn: Mapping[str, bytes]) -> str:
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
    return "<h2>Volume tiers</h2>" + _table(head, cells) + _image(drawn, "tiers") + note


def _event_study(study: EventStudy | None, drawn: Mapping[str, bytes]) -> str:
    if study is None:
        return ""
    text = (
        f"Mean abnormal return of the alert's own session {study.mean_same_day * 100:.2f} %; as low on {study.p_same_day:.3f} of "
        f"{DRAWS:,} placebo draws (same entity, other sessions). "
        "Posts of a session may follow the move: confirmation, not prediction."
    )
    return f"<h2>Event study</h2>{_image(drawn, 'event-study')}<p>{text}</p>"


def _alerts(scores: Evaluation) -> str:
    rows = []
    for detection, right in zip(scores.found, scores.is_right, strict=True):
        alert = detection.alert
        told = ", ".join(dict.fromkeys(scores.incidents[hit.incident].kind for hit in detection.hits)) or "–"
        rows.append(
            (
                alert.entity, utc(detection.at_ms), alert.rule, alert.severity, f"{detection.peak:.2f}",
                len(detection.escalated_ms), told, RIGHT[right],
            )
        )  # fmt: skip
    head = ("entity", "opened (UTC)", "rule", "severity", "highest score", "escalations", "tells of", "right")
    return f"<h2>Alerts</h2>{_table(head, rows)}"


def _market(report: ReportInput, drawn: Mapping[str, bytes]) -> str:
    if report.market is None:
        return ""
    rows = [
        (
            each.opened.entity, utc(each.opened.event_time_ms), _ended(each), each.peak.severity, f"{each.peak.score:.2f}",
            f"{each.market.factor:.2f}", f"{each.market.exceeding} of {each.market.entities}", _names(each),
            ", ".join(each.own) or "none",
        )
        for each in report.market
    ]  # fmt: skip
    head = (
        "market", "opened (UTC)", "ended", "severity", "highest score", "times expected", "members that exceed", "named",
        "beyond the market",
    )  # fmt: skip
    table = _table(head, rows) if rows else "<p>No market had an alert.</p>"
    note = (
        '<p class="note">Alerts of the rule market_wide; no score above counts them. Below: sums over the members, a post '
        "counted for each that it names. Dashed: alerts.</p>"
    )
    return f"<h2>Markets</h2>{table}{note}{''.join(_named(group, drawn, _of_market(group)) for group in report.market_days)}"


def _ended(each: MarketAlert) -> str:
    return f"{each.last.status} {utc(each.last.event_time_ms)}" if each.last.status in ENDED else "open"


def _names(each: MarketAlert) -> str:
    return ", ".join(member.entity for member in each.market.members)


def _of_market(group: str) -> str:
    return group.replace(":", "-")


def _entities(scores: Evaluation, drawn: Mapping[str, bytes]) -> str:
    names = [name for name in drawn if name.startswith(ENTITY)]
    worth = worth_showing(scores)
    more = f'<p class="note">{len(worth) - len(names)} more not drawn.</p>' if len(worth) > len(names) else ""
    note = (
        '<p class="note">Those with alerts, then those whose visible incidents none told about. Dashed: alerts. Green: truth.'
        " The band is what the baseline expects of the day's negatives.</p>"
    )
    images = "".join(_named(name.removeprefix(ENTITY), drawn, name) for name in names)
    return f"<h2>Entities ({len(worth)})</h2>{note}{images}{more}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _named(title: str, drawn: Mapping[str, bytes], name: str) -> str:
    return f"<h3>{escape(title)}</h3>{_image(drawn, name)}"


def _image(drawn: Mapping[str, bytes], name: str) -> str:
    return f'<img alt="{escape(name)}" src="data:image/png;base64,{b64encode(drawn[name]).decode()}">'


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.4g}"
