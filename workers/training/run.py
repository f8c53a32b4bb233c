"""A training run from its YAML file to a folder of weights."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from pipeline.adapters.files import sha256_of
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings
from workers.model import model_store, shipped
from workers.model.intents import read_intents
from workers.model.tokenizer import TextTokenizer
from workers.model.transformer import find_device, read_sizes
from workers.training.claim import claim
from workers.training.config import TrainConfig, read_config
from workers.training.data import Prepared, data_hashes, prepared
from workers.training.finish import Texts, finish, publish
from workers.training.loop import Curves, NoCurves, Watch, train
from workers.training.starting import begin_from, refuse_another_shape
from workers.training.teaching import taught_hashes, with_teachers
from workers.training.trial import Arms, tried
from workers.training.tuned import TunedModel

DEFAULT_INTENTS: Final = Path(__file__).parents[1] / "recipes" / "intents.yaml"
Tellers = tuple[Callable[[int, int, str], None], Callable[[str], None]]


@dataclass(frozen=True, slots=True)
class Base:
    """The base model of a run, the run's texts, and published weights that it begins from, if any."""

    folder: Path
    sets: list[Prepared]
    device: torch.device
    start: shipped.Shipped | None = None

    def model(self, config: TrainConfig) -> TunedModel:
        """Return the model before its first step, the same every time."""
        torch.manual_seed(config.seed)
        weights = load_file(self.folder / "model.safetensors", device=str(self.device))
        model = TunedModel(weights, read_sizes(self.folder), config, self.sets)
        if self.start is not None:
            begin_from(model, self.start)
        return model.to(self.device)


def run(
    config_path: Path, intents_path: Path, settings: Settings, folder: Path, tellers: Tellers, start: Path | None = None
) -> Path:
    """Train, calibrate and publish; return the folder of the weights. ``tellers`` get progress and lines of text.

    start: published weights whose trunk and sentiment head the run begins from; without them, the base model.

    Raises ConfigurationError for a wrong key or row, and for a folder of something else, before anything is computed.
    """
    config, examples = read_config(config_path), read_intents(intents_path)
    device = find_device(config.device, "device")
    show, tell = tellers
    shipped.refuse_others(folder / "weights")
    before = shipped.load(start) if start is not None else None
    if before is not None:
        refuse_another_shape(before, config)
    hashes = data_hashes(config.data, settings.data) | taught_hashes(config.data, config_path.parent)
    base_folder, manifest = model_store.verified(settings.encoder.model, settings.cache)
    _refuse_more_layers(config, read_sizes(base_folder).layers)
    tokenizer = TextTokenizer(base_folder, config.max_tokens)
    torch.set_num_threads(config.threads)
    tell("reading data")
    base = Base(base_folder, with_teachers(prepared(config, settings.data, tokenizer), config_path.parent), device, before)
    tell("; ".join(one.size for one in base.sets))
    started = {} if before is None else {"start": before.hashes}
    claim(folder, config, {"data": hashes, "base": manifest.files, **started})
    with closing(_curves(folder)) as curves:
        watch = _watch(config, curves, show, tell)
        facts = _augmentation(config, base, folder, watch)
        chosen = config if facts.get("augment", {"on": True})["on"] else config.model_copy(update={"augment": None})
        model = base.model(chosen)
        progress = train(chosen, model, base.sets, folder, watch)
    best = progress.best_step or progress.step
    tell(f"ended after step {progress.step}; the best weights are those of step {best}; measuring them on all dev texts")
    tensors, found = finish(config, model, Texts(base.sets, examples, tokenizer), watch, progress.step)
    facts |= found | started
    facts |= {"steps": progress.step, "best_step": best, "data": hashes, "intent_examples": sha256_of(intents_path)}
    publish(folder / "weights", tensors, config, manifest, facts)
    for name, scores in facts["dev"].items():
        tell(f"dev {name}: " + ", ".join(f"{key} {value}" for key, value in scores.items()))
    return folder / "weights"


def _refuse_more_layers(config: TrainConfig, layers: int) -> None:
    """Raise ConfigurationError for more tuned layers than the base has, which would count round its end."""
    if config.mode != "frozen" and config.lora.layers > layers:
        raise ConfigurationError(f"lora.layers = {config.lora.layers}; the base model has {layers} layers, use as many at most")


def _augmentation(config: TrainConfig, base: Base, folder: Path, watch: Watch) -> dict[str, Any]:
    """Return the verdict on augmentation as facts for the record; nothing where it is not wanted."""
    if config.augment is None:
        return {}
    verdict = tried(Arms(config, base.model, base.sets, watch), config.augment, folder)
    without, altered = 100 * verdict["without"], 100 * verdict["with"]
    watch.on_phase(f"augmentation: dev {without:.2f} without, {altered:.2f} with; it is {'on' if verdict['on'] else 'off'}")
    return {"augment": verdict}


def _watch(config: TrainConfig, curves: Curves, show: Callable[[int, int, str], None], tell: Callable[[str], None]) -> Watch:
    def on_step(step: int, losses: dict[str, float]) -> None:
        show(step, config.steps, "  ".join(f"{name} {value:.3f}" for name, value in losses.items()))

    def on_dev(step: int, metrics: dict[str, float]) -> None:
        tell(f"step {step}: dev " + ", ".join(f"{name} {100 * value:.1f}" for name, value in metrics.items()))

    return Watch(curves, on_step, on_dev, tell, lambda step, note: show(step, config.steps, note))


def _curves(folder: Path) -> Curves:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return NoCurves()
    writer: Curves = SummaryWriter(str(folder / "curves"))
    return writer
