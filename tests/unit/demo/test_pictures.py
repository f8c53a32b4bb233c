from pathlib import Path

import numpy as np
import pytest

from pipeline.demo.chart import Chart, span
from pipeline.demo.pictures import draw_all, drawable, file_name, font_families, reference_window, strongest_of
from pipeline.events import AlertStatus, Band, Rule, Trend, WindowEvidence
from tests.alerts import BAND, START_MS, make_alert

pytestmark = pytest.mark.slow

PANE_MS, HOUR_MS = 300_000, 3_600_000
HOUR = WindowEvidence(size_ms=HOUR_MS, observed=21.0, band=BAND, tail_log10=-7.5, share_of_score=0.6)


def pane(index: int, posts: int = 2, negative: float = 1.0, expected: float = 0.25, entity: str = "ACME") -> Trend:
    start = START_MS + index * PANE_MS
    return Trend(
        entity=entity,
        event_time_ms=start + PANE_MS,
        window_start_ms=start,
        window_end_ms=start + PANE_MS,
        posts=posts,
        posts_effective=float(posts),
        negative_mass=negative,
        positive_mass=0.0,
        negative_share=negative / posts,
        authors=posts,
        clusters=posts,
        band=Band(low=0.0, expected=expected, high=1.0),
        score=0.0,
        detector_version="test",
    )


def chart(*panes: Trend) -> Chart:
    return Chart(panes, (), HOUR, START_MS, START_MS + 4 * HOUR_MS)


def test_sliding_sums_hold_the_panes_of_the_last_window_and_no_others() -> None:
    one = chart(pane(0, negative=1.0), pane(6, negative=2.0))
    sums = dict(zip(one.grid_ms.tolist(), one.within("negative_mass").tolist(), strict=True))
    assert sums[START_MS] == 0.0
    assert sums[START_MS + PANE_MS] == 1.0
    assert sums[START_MS + 7 * PANE_MS] == 3.0
    assert sums[START_MS + 12 * PANE_MS] == 3.0
    assert sums[START_MS + 13 * PANE_MS] == 2.0
    assert sums[START_MS + 19 * PANE_MS] == 0.0


def test_bars_hold_every_post_once() -> None:
    one = chart(*(pane(index, posts=index + 1) for index in range(24)))
    assert one.binned("posts").sum() == sum(range(1, 25))
    assert one.binned("posts")[0] == 1 + 2 + 3


def test_a_share_of_too_few_posts_is_not_drawn() -> None:
    shares = chart(pane(0, posts=2), pane(1, posts=2, negative=2.0)).share_percent()
    assert np.isnan(shares[1])
    assert shares[2] == pytest.approx(75.0)
    assert np.isnan(shares[-1])


def test_the_band_is_the_alerts_own_raised_with_the_season() -> None:
    low, expected, high = chart(pane(0, expected=0.25), pane(47, expected=0.5)).band()
    assert (low[1], expected[1], high[1]) == pytest.approx((1.0, 3.0, 7.0))
    assert (low[-1], expected[-1], high[-1]) == pytest.approx((2.0, 6.0, 14.0))


def test_a_change_of_mood_goes_before_a_flood_and_the_window_is_the_alerts_own() -> None:
    flood = make_alert("f", rule=Rule.COORDINATED_ACTIVITY, score=99.0)
    spike = make_alert("s", score=5.0, windows=(HOUR.model_copy(update={"band": Band(low=0, expected=1, high=2)}), HOUR))
    assert strongest_of([flood, spike]) is spike
    assert reference_window(spike) == HOUR
    assert reference_window(make_alert(windows=())).size_ms == HOUR_MS


@pytest.mark.parametrize("entity", ["ACME", "阿里巴巴", "a/b\\c", "Ω😀", "..", "$X_1^2"])
def test_any_entity_can_be_drawn_without_a_warning(tmp_path: Path, entity: str) -> None:
    alerts = [make_alert("a", entity=entity), make_alert("a", 1, entity=entity, status=AlertStatus.RESOLVED)]
    (path,) = draw_all([pane(index, entity=entity) for index in range(-30, 60, 2)], alerts, tmp_path)
    assert path.parent == tmp_path
    assert path.read_bytes().startswith(b"\x89PNG")


def test_an_entity_without_panes_is_drawn_all_the_same(tmp_path: Path) -> None:
    (path,) = draw_all([], [make_alert()], tmp_path)
    assert path.stat().st_size > 5_000


def test_later_revisions_replace_panes(tmp_path: Path) -> None:
    corrected = pane(0, posts=40).model_copy(update={"revision": 1})
    first = draw_all([corrected], [make_alert()], tmp_path)[0].read_bytes()
    assert draw_all([pane(0), corrected], [make_alert()], tmp_path)[0].read_bytes() == first
    assert draw_all([pane(0)], [make_alert()], tmp_path)[0].read_bytes() != first


def test_file_names_are_safe_and_apart() -> None:
    names = [file_name(entity) for entity in ("A", "A/", "/A", "阿", "里", "..", "x" * 300, "里" * 300)]
    assert len(set(names)) == len(names)
    assert file_name("600519.SH") == "600519.SH.png"
    assert file_name("阿里巴巴") == "阿里巴巴.png"
    assert file_name("阿/里") not in ("阿里.png", file_name("阿\\里"))
    assert all(len(name.encode()) < 255 and "/" not in name and not name.startswith(".") for name in names)


def test_what_no_font_draws_is_written_as_its_code_point() -> None:
    assert drawable("ACME", font_families("ACME")) == "ACME"
    assert drawable("\U0001f9ff", ["DejaVu Sans"]) == "U+1F9FF"


@pytest.mark.parametrize(("ms", "words"), [(HOUR_MS, "60 minutes"), (900_000, "15 minutes"), (24 * HOUR_MS, "24 hours")])
def test_spans_read_well(ms: int, words: str) -> None:
    assert span(ms) == words
