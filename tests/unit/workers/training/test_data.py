from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ConfigurationError
from tests.unit.workers.tiny_model import RECIPE
from workers.training.config import read_config
from workers.training.data import class_weights, data_hashes


def test_absent_data_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RECIPE.format(mode="lora", steps=12), "utf-8")
    (tmp_path / "three.jsonl").touch()
    with pytest.raises(ConfigurationError, match=r"data: dev\.jsonl, two\.jsonl, asks\.jsonl, asks_dev\.jsonl: no such file in"):
        data_hashes(read_config(tmp_path / "run.yaml").data, tmp_path)


def test_class_weights_are_one_on_average_and_favour_the_rare() -> None:
    classes = np.array([0] * 90 + [1] * 10)
    weights = class_weights(classes, 3, 0.5)
    assert weights[1] == pytest.approx(3 * weights[0], rel=1e-5)
    assert float(weights[classes].mean()) == pytest.approx(1, rel=1e-5)
    assert weights[2] == 0
