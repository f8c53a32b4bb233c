"""The state of a training run on disk: safetensors and JSON, published whole, so that a killed run goes on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.adapters.files import mend, published_folder
from pipeline.errors import ConfigurationError
from workers.training.averaging import Average


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
    with published_folder(folder, SafetensorError) as scratch:
        save_file(tensors, scratch / "state.safetensors")
        (scratch / "progress.json").write_text(json.dumps(asdict(progress)), "utf-8")


def restore(folder: Path, model: torch.nn.Module, optimiser: torch.optim.Optimizer, average: Average | None = None) -> Progress:
    """Load what ``save`` wrote; return fresh progress where nothing was saved.

    Raises ConfigurationError that names a file that cannot be read.
    """
    mend(folder.parent)
    if not folder.is_dir():
        return Progress()
    with _naming(folder / "progress.json"):
        told = json.loads((folder / "progress.json").read_text("utf-8"))
        progress = Progress(int(told["step"]), float(told["best"]), int(told["best_step"]), int(told["idle"]))
    with _naming(folder / "state.safetensors"):
        _restore_tensors(load_file(folder / "state.safetensors"), model, optimiser, average)
    return progress


def _restore_tensors(
    tensors: dict[str, Tensor], model: torch.nn.Module, optimiser: torch.optim.Optimizer, average: Average | None
) -> None:
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


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({error!r}); remove {path.parent}, and the run begins again without it"
        ) from error


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
