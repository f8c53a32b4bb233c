"""What a person must be able to see in the pictures."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from pipeline.backtest.daily import Day
from pipeline.backtest.plots import entity_picture
from pipeline.backtest.truth import Incident
from pipeline.events import Band
from tests.unit.core.streams import DAY_MS, HOUR_MS, START_MS

DAYS = [Day(START_MS + n * DAY_MS, 10, 2.0, 0.2, Band(low=0.0, expected=2.0, high=5.0)) for n in range(184)]


def greenest(png: bytes) -> int:
    """Return by how much green leads the other colours where it leads most; 0 to 255."""
    pixels = imread(io.BytesIO(png))[:, :, :3] * 255
    return int((pixels[:, :, 1] - np.maximum(pixels[:, :, 0], pixels[:, :, 2])).max())


@pytest.mark.slow
def test_an_hour_of_truth_is_seen_in_half_a_year() -> None:
    begin = START_MS + 90 * DAY_MS
    truth = [Incident("A", "negative_spike", begin, begin + HOUR_MS)]
    assert greenest(entity_picture("A", DAYS, [], [])) == 0
    assert greenest(entity_picture("A", DAYS, [], truth)) >= 20


@pytest.mark.slow
def test_a_day_is_drawn_from_its_beginning_to_its_end() -> None:
    """An alert in the evening must stand in the bar of its day, not in that of the next."""
    days = [Day(START_MS + n * DAY_MS, 100 if n == 2 else 0, 0.0, None, None) for n in range(4)]
    picture = imread(io.BytesIO(entity_picture("A", days, [], [])))[:, :, :3] * 255
    bar = np.abs(picture - np.array([0x9A, 0xA7, 0xB4])).max(axis=2) < 2
    columns = np.flatnonzero(bar[: len(bar) // 4].sum(axis=0) > 40)
    left, right = 0.05 * picture.shape[1], 0.96 * picture.shape[1]
    begin, end = ((column - left) / (right - left) for column in (columns[0], columns[-1]))
    margin = 0.05 / 1.1  # matplotlib leaves a twentieth of the range on both sides
    assert begin == pytest.approx(margin + 2 / 4.4, abs=0.01)
    assert end == pytest.approx(margin + 3 / 4.4, abs=0.01)


@pytest.mark.filterwarnings("error")
def test_a_name_that_the_font_does_not_have_is_left_to_the_page() -> None:
    assert entity_picture("贵州茅台", DAYS, [], []) == entity_picture("五粮液", DAYS, [], [])
