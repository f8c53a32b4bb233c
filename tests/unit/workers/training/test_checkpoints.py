import json
from pathlib import Path

import pytest
import torch

from pipeline.errors import ConfigurationError
from workers.training.averaging import Average
from workers.training.checkpoints import Progress, restore, save


def saved(folder: Path, step: int = 3) -> tuple[torch.nn.Linear, torch.optim.AdamW, Average]:
    torch.manual_seed(step)
    model = torch.nn.Linear(4, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 4)).sum().backward()
    optimiser.step()
    average = Average(model, 0.9)
    save(folder, model, optimiser, Progress(step, 0.5, 2, 1), average)
    return model, optimiser, average


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    model, _, _ = saved(tmp_path / "last")
    other, optimiser, average = saved(tmp_path / "other", step=4)
    assert restore(tmp_path / "last", other, optimiser, average) == Progress(3, 0.5, 2, 1)
    assert torch.equal(other.weight, model.weight)
    assert restore(tmp_path / "none", other, optimiser, average) == Progress()


def test_a_state_that_was_set_aside_when_the_run_was_killed_is_found(tmp_path: Path) -> None:
    model, optimiser, average = saved(tmp_path / "last")
    (tmp_path / ".last.old.abcd1_23").mkdir()
    (tmp_path / "last").rename(tmp_path / ".last.old.abcd1_23" / "last")
    (tmp_path / ".last.new.xyz12345").mkdir()
    assert restore(tmp_path / "last", model, optimiser, average).step == 3
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"{", b"\xff", json.dumps({"step": None}).encode()])
@pytest.mark.parametrize("name", ["state.safetensors", "progress.json"])
def test_a_broken_state_is_named_with_what_to_do(tmp_path: Path, name: str, content: bytes) -> None:
    model, optimiser, average = saved(tmp_path / "last")
    (tmp_path / "last" / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=rf"last/{name} cannot be read .*; remove .*last, and the run begins again"):
        restore(tmp_path / "last", model, optimiser, average)


def test_a_state_of_another_model_or_a_truncated_one_is_named(tmp_path: Path) -> None:
    model, optimiser, average = saved(tmp_path / "last")
    path = tmp_path / "last" / "state.safetensors"
    other = torch.nn.Linear(5, 2)
    with pytest.raises(ConfigurationError, match=r"state\.safetensors cannot be read"):
        restore(tmp_path / "last", other, torch.optim.AdamW(other.parameters()))
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ConfigurationError, match=r"state\.safetensors cannot be read"):
        restore(tmp_path / "last", model, optimiser, average)
