"""A training run from its YAML file to a folder of weights."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file

from pipeline.settings import Settings
from workers import model_store
from workers.finish import finish, publish
from workers.intents import read_intents
from workers.tokenizer import TextTokenizer
from workers.training import Curves, Watch, train
from workers.training_config import TrainConfig, read_config
from workers.training_data import data_hashes, prepare
from workers.transformer import read_sizes
from workers.tuned import TunedModel

DEFAULT_INTENTS: Final = Path(__file__).with_name("recipes") / "intents.yaml"
Tellers = tuple[Callable[[int, int, str], None], Callable[[str], None]]


@dataclass(frozen=True, slots=True)
class NoCurves:
    """Stands in where TensorBoard is not installed."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Forget the value."""

    def close(self) -> None:
        """Do nothing."""


def run(config_path: Path, intents_path: Path, settings: Settings, folder: Path, tellers: Tellers) -> Path:
    """Train, calibrate and publish; return the folder of the weights. ``tellers`` get progress and lines of text.

    Raises ConfigurationError for a wrong key or row before anything is computed.
    """
    config, examples = read_config(config_path), read_intents(intents_path)
    show, tell = tellers
    base_folder, base = model_store.verified(settings.encoder.model, settings.cache)
    tokenizer = TextTokenizer(base_folder, config.max_tokens)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    show(0, config.steps, "reading data")
    sets = [prepare(one, settings.data, tokenizer, config.class_balance) for one in config.data]
    model = TunedModel(load_file(base_folder / "model.safetensors"), read_sizes(base_folder), config, sets)
    with closing(_curves(folder)) as curves:
        progress = train(config, model, sets, folder, _watch(config, curves, show, tell))
    show(config.steps, config.steps, "calibrating")
    tensors, facts = finish(config, model, sets, tokenizer, examples)
    facts |= {"steps": progress.step, "best_step": progress.best_step, "data": data_hashes(config.data, settings.data)}
    publish(folder / "weights", tensors, config, base, facts)
    for name, scores in facts["dev"].items():
        tell(f"dev {name}: " + ", ".join(f"{key} {value}" for key, value in scores.items()))
    return folder / "weights"


def _watch(config: TrainConfig, curves: Curves, show: Callable[[int, int, str], None], tell: Callable[[str], None]) -> Watch:
    def on_step(step: int, losses: dict[str, float]) -> None:
        show(step, config.steps, "  ".join(f"{name} {value:.3f}" for name, value in losses.items()))

    def on_dev(step: int, metrics: dict[str, float]) -> None:
        tell(f"step {step}: " + ", ".join(f"{name} {100 * value:.1f}" for name, value in metrics.items()))

    return Watch(curves, on_step, on_dev)


def _curves(folder: Path) -> Curves:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return NoCurves()
    writer: Curves = SummaryWriter(str(folder / "curves"))
    return writer
