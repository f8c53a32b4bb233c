"""The state of a training run on disk: safetensors and JSON, published whole, so that a killed run goes on."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.adapters.files import published_folder
from workers.averaging import Average


@dataclass(slots=True)
class Progress:
    """How far a run is. best: the best dev score so far; idle: evaluations since it rose."""

    step: int = 0
    best: float = float("-inf")
    best_step: int = 0
    idle: int = 0


def save(
    folder: Path,
    model: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    progress: Progress,
    average: Average | None = None,
) -> None:
    """Publish the trainable tensors, their running mean, the optimiser's moments and the progress."""
    tensors = trainable(model)
    if average is not None:
        tensors |= {f"average/{name}": value for name, value in average.means.items()}
    for name, moments in _moments(model, optimiser).items():
        tensors |= {f"moment.{kind}/{name}": value for kind, value in moments.items()}
    with published_folder(folder) as scratch:
        save_file(tensors, scratch / "state.safetensors")
        (scratch / "progress.json").write_text(json.dumps(asdict(progress)), "utf-8")


def restore(folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, average: Average | None = None) -> Progress:
    """Load what ``save`` wrote; return fresh progress where nothing was saved."""
    if not folder.is_dir():
        return Progress()
    tensors = load_file(folder / "state.safetensors")
    progress = Progress(**json.loads((folder / "progress.json").read_text("utf-8")))
    load_trainable(model, tensors)
    for name, parameter in model.named_parameters():
        kinds = ("step", "exp_avg", "exp_avg_sq")
        if f"moment.exp_avg/{name}" in tensors:
            moments = {kind: tensors[f"moment.{kind}/{name}"] for kind in kinds}
            # The count of steps stays where the optimiser keeps it: on the CPU.
            optimiser.state[parameter] = {"step": moments.pop("step")} | {
                kind: value.to(parameter.device) for kind, value in moments.items()
            }
    if average is not None:
        for name, mean in average.means.items():
            mean.copy_(tensors[f"average/{name}"])
    return progress


def trainable(model: torch.nn.Module) -> dict[str, Tensor]:
    """Return copies of the tensors that training changes."""
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def load_trainable(model: torch.nn.Module, tensors: dict[str, Tensor]) -> None:
    """Set the tensors that training changes."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors[name])


def _moments(model: torch.nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    return {
        name: {kind: value.clone() for kind, value in optimiser.state[parameter].items()}
        for name, parameter in model.named_parameters()
        if parameter in optimiser.state
    }
