from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from tests.unit.workers.tiny_model import RECIPE
from workers.training.config import read_config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("steps: 12", "steps: 12\ncolour: red"), "colour = 'red': unknown key"),
        (("steps: 12", "steps: 12\nstepz: 3"), "stepz = 3: unknown key; did you mean steps"),
        (("steps: 12", ""), "steps is missing"),
        (("steps: 12", "steps: 12\naugment: {share: 2}"), "augment.trial_steps is missing; augment.share = 2"),
        (("steps: 12", "steps: none"), "steps"),
        (("rank: 4", "rank: 0"), "lora.rank"),
        (("share: 3", "shares: 3"), "data.0.share is missing; data.0.shares = 3: unknown key; did you mean share"),
        (("mode: lora", "mode: magic"), "mode"),
        (("name: two", "name: three"), "data: three stands twice; give each set a name of its own"),
        (("data:", "data: ["), "cannot be read"),
        (("steps: 12", "steps: 12\ntrunk_rate: -1"), "trunk_rate = -1"),
        (("steps: 12", "steps: 12\nhead_rate: .inf"), "head_rate = inf"),
        (("steps: 12", "steps: 12\nweight_decay: -0.1"), r"weight_decay = -0\.1"),
        (("steps: 12", "steps: 12\nconsistency: .inf"), "consistency = inf"),
        (("steps: 12", "steps: 12\nseed: -1"), "seed = -1"),
        (("steps: 12", "steps: 12\nseed: 100000000000000000000"), "seed = 1"),
        (("steps: 12", "steps: 12\nthreads: 100000"), "threads = 100000"),
        (("alpha: 8", "alpha: .inf"), r"lora\.alpha = inf"),
        (("alpha: 8", "alpha: -8"), r"lora\.alpha = -8"),
        (("batch_tokens: 96", "batch_tokens: 1"), r"run\.yaml: batch_tokens = 1; a text has up to max_tokens = 32"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(RECIPE.format(mode="lora", steps=12).replace(*change), "utf-8")
    with pytest.raises(ConfigurationError, match=said):
        read_config(path)
