"""One picture per alerted entity: volume, negative posts against the expected band, negative share, and the alert's steps.

Three charts over one time axis (UTC): posts, with near-identical ones apart; negative posts within the window that the
alert speaks of (an hour for a spike) with the band of the 5 % and 95 % quantiles; the share of negative posts in that
window. A long history is cut to the time around the strongest alert.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.core.corrections import latest, pane_of
from pipeline.demo.chart import LEAST_POSTS, Chart, days, span
from pipeline.events import Alert, AlertStatus, Rule, Trend, WindowEvidence
from pipeline.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INCHES: Final = (11.0, 7.5)
DPI: Final = 110
CJK_FONTS: Final = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",  # the first face of Debian's fonts-noto-cjk, and so the only one that matplotlib may know
    "Noto Sans CJK TC",
    "Noto Sans SC",
    "Noto Serif CJK SC",
    "Noto Serif CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "Microsoft YaHei",
    "SimHei",
    "PingFang SC",
    "Hiragino Sans GB",
    "Arial Unicode MS",
)
INK, PALE, RED, BLUE = "#33475b", "#b9c4cf", "#c0392b", "#2f6ea5"
MARKS: Final = {  # colour and width of the line
    AlertStatus.OPENED: ("#d81b60", 1.6),
    AlertStatus.ESCALATED: ("#7b1fa2", 1.6),
    AlertStatus.UPDATED: ("#e08e0b", 0.9),
    AlertStatus.RESOLVED: ("#2e7d32", 1.6),
    AlertStatus.RETRACTED: ("#607d8b", 1.6),
}


def draw_all(trends: Iterable[Trend], alerts: Sequence[Alert], folder: Path) -> list[Path]:
    """Write one PNG per entity that has an alert; return their paths."""
    panes: dict[str, list[Trend]] = {alert.entity: [] for alert in alerts}
    last = latest((trend for trend in trends if trend.entity in panes), pane_of)
    for entity, start in sorted(last):
        panes[entity].append(last[entity, start])
    folder.mkdir(parents=True, exist_ok=True)
    return [
        draw(entity, own, [alert for alert in alerts if alert.entity == entity], folder) for entity, own in sorted(panes.items())
    ]


def draw(entity: str, trends: Sequence[Trend], alerts: Sequence[Alert], folder: Path) -> Path:
    """Draw the time around the strongest alert of one entity."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    strongest = strongest_of(alerts)
    chart = Chart.around(strongest, reference_window(strongest), trends, alerts)
    family = font_families(entity)
    with rc_context({"font.family": family, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
        volume, negative, share = figure.subplots(3, 1, sharex=True, height_ratios=(3, 4, 3))
        _draw_volume(volume, chart)
        _draw_negative(negative, chart)
        _draw_share(share, chart, strongest)
        for axes in (volume, negative, share):
            _mark(axes, chart.alerts)
        _finish(figure, chart, _title(drawable(entity, family), strongest, alerts))
        path = folder / file_name(entity)
        figure.savefig(path)
    return path


def strongest_of(alerts: Sequence[Alert]) -> Alert:
    """Return the step with the highest score; a change of mood goes before coordinated activity."""
    return max(alerts, key=lambda alert: (alert.rule is not Rule.COORDINATED_ACTIVITY, alert.score, -alert.event_time_ms))


def reference_window(alert: Alert) -> WindowEvidence:
    """Return the window that the alert speaks of: the one whose band is the alert's own; an hour where it names none."""
    hour = WindowEvidence(size_ms=HOUR_MS, observed=alert.observed, band=alert.band, tail_log10=0.0, share_of_score=0.0)
    return next((window for window in alert.windows if window.band == alert.band), hour)


def file_name(entity: str) -> str:
    """Return a safe file name of letters in any script; equal ones for equal entities, different ones for different entities."""
    safe = re.sub(r"[^\w.-]", "", entity).strip(".")[:60]
    return f"{safe}.png" if safe == entity else f"{safe or 'entity'}-{sha256(entity.encode()).hexdigest()[:8]}.png"


def font_families(text: str) -> list[str]:
    """Return fonts for the text: one for Chinese, Japanese and Korean first, where the text needs it and there is one."""
    from matplotlib import font_manager

    if text.isascii():
        return ["DejaVu Sans"]
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return [*(name for name in CJK_FONTS if name in installed), "DejaVu Sans"]


def drawable(text: str, families: Sequence[str]) -> str:
    """Return the text with every character that no font can draw written as its code point."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    fonts = [FT2Font(font_manager.findfont(family)) for family in families]
    return "".join(c if any(font.get_char_index(ord(c)) for font in fonts) else f"U+{ord(c):04X} " for c in text).strip()


def _draw_volume(axes: "Axes", chart: Chart) -> None:
    middles, width = days(chart.bins_ms + chart.bin_ms / 2), 0.92 * chart.bin_ms / DAY_MS
    axes.bar(middles, chart.binned("posts"), width, color=PALE, label="all posts")
    axes.bar(middles, chart.binned("posts_effective"), width, color=INK, label="different contents")
    axes.set_ylabel(f"posts per\n{span(chart.bin_ms)}")


def _draw_negative(axes: "Axes", chart: Chart) -> None:
    times, (low, expected, high) = days(chart.grid_ms), chart.band()
    axes.fill_between(times, 0, chart.within("negative_mass"), color=RED, alpha=0.8, linewidth=0, label="observed")
    axes.fill_between(times, low, high, color=BLUE, alpha=0.35, linewidth=0, label="expected (5 to 95 %)")
    axes.plot(times, expected, color=BLUE, linewidth=1.2, label="expected")
    axes.set_ylabel(f"negative posts within\n{span(chart.window_ms)}")
    axes.set_ylim(bottom=0)


def _draw_share(axes: "Axes", chart: Chart, strongest: Alert) -> None:
    usual = 100 * strongest.negative_share_before
    label = f"observed, where there are {LEAST_POSTS} posts or more"
    axes.plot(days(chart.grid_ms), chart.share_percent(), color=RED, linewidth=1.4, marker=".", markersize=2.5, label=label)
    axes.axhline(usual, color=BLUE, linewidth=1.2, linestyle="--", label=f"usual ({usual:.0f} %)")
    axes.set_ylim(0, 100)
    axes.set_yticks((0, 25, 50, 75, 100))
    axes.set_ylabel(f"negative share within\n{span(chart.window_ms)}, percent")


def _mark(axes: "Axes", alerts: Sequence[Alert]) -> None:
    for alert in alerts:
        colour, width = MARKS[alert.status]
        axes.axvline(alert.event_time_ms / DAY_MS, color=colour, linewidth=width, zorder=3)


def _finish(figure: "Figure", chart: Chart, title: str) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.lines import Line2D

    for axes in figure.axes:
        axes.legend(loc="upper left", ncols=3, fontsize=8, framealpha=0.85, edgecolor="none")
        axes.grid(axis="y", color="#e3e8ee", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.set_ylim(top=1.2 * axes.get_ylim()[1])  # room for the legend
    lowest = figure.axes[-1]
    lowest.set_xlim(chart.since_ms / DAY_MS, chart.until_ms / DAY_MS)
    locator = AutoDateLocator(tz=UTC)  # type: ignore[no-untyped-call]  # the library's types end here
    lowest.xaxis.set_major_locator(locator)
    lowest.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))  # type: ignore[no-untyped-call]
    lowest.set_xlabel("event time, UTC")
    statuses = [status for status in MARKS if any(a.status is status for a in chart.alerts)]
    lines = [Line2D([], [], color=MARKS[status][0], linewidth=MARKS[status][1], label=status.value) for status in statuses]
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines), frameon=False, title="steps of the alert")
    figure.suptitle(title, x=0.012, ha="left", fontsize=10.5)


def _title(name: str, strongest: Alert, alerts: Sequence[Alert]) -> str:
    incidents, within = len({alert.alert_id for alert in alerts}), span(reference_window(strongest).size_ms)
    if strongest.rule is Rule.COORDINATED_ACTIVITY:
        numbers = f"{strongest.posts} posts within {within}, {strongest.posts_effective:.0f} different contents"
    else:
        seen = f"{strongest.observed:.1f} negative posts within {within} where {strongest.band.expected:.1f} were expected"
        numbers = f"{seen}, score {strongest.score:.1f} against a threshold of {strongest.threshold:.1f}"
    others = "" if incidents == 1 else f" (the strongest of {incidents} incidents)"
    return f"{name}: {strongest.rule.replace('_', ' ')}, {strongest.severity}{others}\n{numbers}"
