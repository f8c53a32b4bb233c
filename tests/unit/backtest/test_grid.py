"""Grids: checked as a whole before anything runs."""

from pathlib import Path

import pytest

from pipeline.backtest.grid import check_grid, configured, numbers, points, read_grid
from pipeline.core.detector_config import DetectorConfig
from pipeline.errors import ConfigurationError

CONFIG = DetectorConfig()


def test_points_are_all_combinations_in_order() -> None:
    grid = check_grid({"share_weight": [0.5, 1.0], "lanes.0.support.authors": [2, 3]}, CONFIG)
    assert points(grid) == [
        {"share_weight": 0.5, "lanes.0.support.authors": 2},
        {"share_weight": 0.5, "lanes.0.support.authors": 3},
        {"share_weight": 1.0, "lanes.0.support.authors": 2},
        {"share_weight": 1.0, "lanes.0.support.authors": 3},
    ]


def test_a_point_changes_what_it_names_and_nothing_else() -> None:
    changed = configured(CONFIG, {"lanes.0.support.authors": 7, "lifecycle.cooldown_ms": 5})
    assert changed.lanes[0].support.authors == 7
    assert changed.lifecycle.cooldown_ms == 5
    authors = CONFIG.lanes[0].support.authors
    back = {"lanes.0.support.authors": authors, "lifecycle.cooldown_ms": CONFIG.lifecycle.cooldown_ms}
    assert configured(changed, back) == CONFIG


def test_every_number_of_the_configuration_can_be_named() -> None:
    names = dict(numbers(CONFIG))
    assert names["half_life_ms"] == CONFIG.half_life_ms
    assert names["lanes.0.windows_ms.0"] == CONFIG.lanes[0].windows_ms[0]
    assert "prior.tiers.0.dispersion" in names


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "expected a mapping"),
        ([1], "expected a mapping"),
        ({}, "expected a mapping"),
        ({"share_wieght": [1.0]}, "share_wieght is no number of the detector's configuration; did you mean share_weight"),
        ({"share_weight": []}, "give a list with at least one value"),
        ({"share_weight": 0.5}, "give a list with at least one value"),
        ({"share_weight": ["high"]}, "share_weight holds 'high'; expected numbers"),
        ({"share_weight": ["1e-3"]}, "holds '1e-3'; expected numbers; YAML takes it for text: write 1.0e-3"),
        ({"share_weight": ["2.5E2"]}, r"write 2.5e\+2"),
        ({"share_weight": [float("nan")]}, "expected numbers"),
        ({"half_life_ms": [1.5]}, "expected whole numbers"),
        ({"half_life_ms": [True]}, "expected whole numbers"),
        ({"half_life_ms": [0]}, "half_life_ms must be above 0"),
        ({"own_rate_half_life_ms": [0]}, "own_rate_half_life_ms must be above 0"),
        ({"own_rate_strength_ms": [0]}, "own_rate_strength_ms must be above 0"),
        ({"share_strength": [0]}, "share_strength must be above 0"),
        ({"cluster_capacity": [0]}, "cluster_capacity must be above 0"),
        ({"posts_per_author": [2, 0]}, "posts_per_author=0: posts_per_author must be above 0"),
        ({"forget_after_ms": [3_600_000]}, "forget_after_ms is less than the longest window, 86400000"),
        ({"lanes.0.reference_ms": [7_200_000]}, "must be one of its windows"),
        ({"half_life_ms": [-5]}, "no setting of the detector is negative"),
        ({"false_alerts_per_entity_day": [2.0]}, r"must lie in \(0, 1\]"),
        ({"share_weight": [1.0, 1.0]}, "holds a value twice"),
        ({"lanes.0.windows_ms.0": [86_400_000]}, "must ascend"),
        (
            {"share_weight": [i / 1000 for i in range(200)], "share_strength": [float(i) for i in range(1, 200)]},
            "more than 10000",
        ),
    ],
)
def test_impossible_grids_say_what_is_wrong(document: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"grid: .*{message}"):
        check_grid(document, CONFIG)


def test_what_the_training_span_teaches_is_no_setting_of_a_fitted_sweep() -> None:
    grid = {"prior.negative_share": [0.1, 0.2]}
    assert check_grid(grid, CONFIG) == grid
    with pytest.raises(ConfigurationError, match="grid: prior.negative_share is what the training span teaches"):
        check_grid(grid, CONFIG, fits=True)
    kept = {"prior.strength_days": [1.0, 2.0]}
    assert check_grid(kept, CONFIG, fits=True) == kept


def test_what_a_configuration_works_out_itself_is_not_offered() -> None:
    assert not [name for name in dict(numbers(CONFIG)) if "._" in name]
    with pytest.raises(ConfigurationError, match="is no number of the detector's configuration"):
        check_grid({"prior.season._until.0": [0.1]}, CONFIG)


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("a: [1")
    with pytest.raises(ConfigurationError, match="cannot be read as YAML"):
        read_grid(path, CONFIG)
    with pytest.raises(ConfigurationError, match=r"absent\.yaml cannot be read"):
        read_grid(tmp_path / "absent.yaml", CONFIG)
