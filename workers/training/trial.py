"""Whether augmentation helps a training run: two short runs that differ in nothing else, judged on dev."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.adapters.files import published_file
from pipeline.errors import ConfigurationError
from workers.training.config import Augment, TrainConfig
from workers.training.data import Prepared
from workers.training.loop import NoCurves, Watch, train
from workers.training.tuned import TunedModel

MakeModel = Callable[[TrainConfig], TunedModel]


@dataclass(frozen=True, slots=True)
class Arms:
    """What both short runs share."""

    config: TrainConfig
    make: MakeModel
    sets: Sequence[Prepared]
    watch: Watch


def tried(arms: Arms, wanted: Augment, folder: Path) -> dict[str, Any]:
    """Return the mean dev scores without and with augmentation, and whether it stays on: only if dev gains.

    The verdict is kept under ``folder``; a run that was killed takes it from there, or goes on with the trial.
    """
    verdict_file = folder / "trial.json"
    if verdict_file.is_file():
        return _verdict(verdict_file)
    if not any(one.dev_tokens for one in arms.sets):
        raise ConfigurationError("augment: no data set has a dev file, so nothing can say whether it helps")
    without = _score(arms, None, wanted.trial_steps, folder / "trial-without")
    altered = _score(arms, wanted, wanted.trial_steps, folder / "trial-with")
    verdict = {"steps": wanted.trial_steps, "without": without, "with": altered, "on": altered > without}
    with published_file(verdict_file) as scratch:
        scratch.write_text(json.dumps(verdict), "utf-8")
    for arm in ("trial-without", "trial-with"):
        shutil.rmtree(folder / arm)
    return verdict


def _verdict(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
        return {name: found[name] for name in ("steps", "without", "with", "on")}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error!r}); remove it, and the trial is made again") from error


def _score(arms: Arms, augment: Augment | None, steps: int, folder: Path) -> float:
    arms.watch.on_phase(f"trial of {steps} steps {'without' if augment is None else 'with'} augmentation")
    config = arms.config.model_copy(update={"augment": augment, "steps": steps, "evaluate_every": steps})
    return train(config, arms.make(config), arms.sets, folder, replace(arms.watch, curves=NoCurves())).best
