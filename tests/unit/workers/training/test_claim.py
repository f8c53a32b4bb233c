import json
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from tests.unit.workers.tiny_model import RECIPE
from workers.training.claim import claim
from workers.training.config import read_config


def test_a_folder_of_another_run_is_refused_by_what_differs(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RECIPE.format(mode="lora", steps=12), "utf-8")
    config = read_config(tmp_path / "run.yaml")
    claim(tmp_path, config, {"data": {"a/b.jsonl": "1"}})
    claim(tmp_path, config.model_copy(update={"threads": 2}), {"data": {"a/b.jsonl": "1"}})
    with pytest.raises(ConfigurationError, match="holds a run with another mode, steps; choose another --out"):
        claim(tmp_path, config.model_copy(update={"mode": "full", "steps": 3}), {"data": {"a/b.jsonl": "1"}})
    with pytest.raises(ConfigurationError, match=r"another data/a/b\.jsonl"):
        claim(tmp_path, config, {"data": {"a/b.jsonl": "2"}})
    standing = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert (standing["config"]["seed"], standing["data"], "torch" in standing["versions"]) == (7, {"a/b.jsonl": "1"}, True)


@pytest.mark.parametrize("content", ["", "[1]", "3", "{"])
def test_a_broken_note_of_a_run_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.yaml").write_text(RECIPE.format(mode="lora", steps=12), "utf-8")
    (tmp_path / "run.json").write_text(content, "utf-8")
    with pytest.raises(ConfigurationError, match=r"run\.json cannot be read .*; remove .*, or choose another --out"):
        claim(tmp_path, read_config(tmp_path / "run.yaml"), {})


def test_a_run_that_goes_on_removes_what_was_half_written_when_it_was_killed(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RECIPE.format(mode="lora", steps=12), "utf-8")
    config = read_config(tmp_path / "run.yaml")
    claim(tmp_path, config, {})
    (tmp_path / ".weights.new.abcd1_23").mkdir()
    claim(tmp_path, config, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "run.yaml"]
