"""The training loop: balanced batches, AdamW, warm-up, early stopping on dev, checkpoints that a killed run goes on from."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.errors import ModelError
from workers.encoder import TokenIds
from workers.evaluation.metrics import Scores, score, without_class
from workers.forward.heads import SentimentHead, fit_whitening
from workers.forward.packing import pack
from workers.training import starting
from workers.training.averaging import Average
from workers.training.checkpoints import Progress, restore, save
from workers.training.config import TrainConfig
from workers.training.data import NEUTRAL, Prepared
from workers.training.feed import feed, training_sample
from workers.training.recorded_step import RecordedStep, fits, shape_of
from workers.training.tuned import Batch, TunedModel, is_intent

EVALUATION_ROWS = (2_048, 16_384)  # on a CPU, on a GPU
GRADIENT_NORM = 1.0
GPU_LOOKS = 20  # steps between two looks at the losses, each of which waits for the device
Advance = Callable[[int], None]


class Curves(Protocol):
    """Where run curves go (TensorBoard, or nowhere)."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Note one value at one step."""

    def close(self) -> None:
        """Write out what was noted."""


@dataclass(frozen=True, slots=True)
class NoCurves:
    """Stands in where nobody wants curves."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Forget the value."""

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks on: curves; calls after each step with its losses, after each look at dev, before what takes long, and in it."""

    curves: Curves
    on_step: Callable[[int, dict[str, float]], None]
    on_dev: Callable[[int, dict[str, float]], None]
    on_phase: Callable[[str], None]
    on_note: Callable[[int, str], None]

    def counting(self, step: int, what: str, total: int) -> "Advance":
        """Return a call that hears how many more texts are done, and says so as a note at this step."""
        done = 0

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.on_note(step, f"{what}: {done:,} of {total:,} texts")

        return advance


def train(config: TrainConfig, model: TunedModel, sets: Sequence[Prepared], folder: Path, watch: Watch) -> Progress:
    """Train until ``steps`` or until dev stops rising, then leave the best weights in the model; without dev, the last.

    A run that was killed goes on from its last checkpoint under ``folder``.
    """
    torch.set_num_threads(config.threads)
    sample = training_sample(sets, config)
    whitening = fit_whitening(base_vectors(model, sample, watch.counting(0, "whitening", len(sample))))
    model.whitening = whitening.to(model.trunk.device)
    if model.started:
        _show_intents(config, model, sets, watch)
    optimiser, average = _optimiser(model, config), Average(model, config.average)
    progress = restore(folder / "last", model, optimiser, average)
    watch.on_phase(f"going on after step {progress.step}" if progress.step else "training begins")
    batches, run = feed(config, sets, progress.step), _pass(config, model, sets)
    look_every = 1 if model.trunk.device.type == "cpu" else GPU_LOOKS
    has_dev = any(one.dev_tokens for one in sets)
    while progress.step < config.steps and progress.idle < config.patience:
        progress.step += 1
        losses = _step(config, model, run, optimiser, [next(batches) for _ in range(config.accumulate)], progress.step)
        average.update(progress.step)
        judging = has_dev and (progress.step % config.evaluate_every == 0 or progress.step == config.steps)
        saving = judging or progress.step % config.checkpoint_every == 0 or progress.step == config.steps
        if judging or saving or progress.step % look_every == 0:
            _note(losses, progress.step, watch)
        if judging:
            with average.applied():
                _judge(config, model, sets, progress, folder, watch)
        if saving:
            save(folder / "last", model, optimiser, progress, average)
    if (folder / "best").is_dir():
        restore(folder / "best", model, optimiser)
    else:
        average.apply()
    return progress


def _show_intents(config: TrainConfig, model: TunedModel, sets: Sequence[Prepared], watch: Watch) -> None:
    """Set the prototype of each intent to what the trunk makes of its texts: published weights carry none."""
    assert model.whitening is not None
    for index, (texts, classes) in starting.examples(config, sets).items():
        vectors = tuned_vectors(model, texts, watch.counting(0, "intents", len(texts)))[0]
        found = starting.prototypes(model.whitening(vectors.to(model.trunk.device)), classes)
        with torch.no_grad():
            model.intents[str(index)].copy_(found)


def base_vectors(model: TunedModel, tokens: Sequence[TokenIds], advance: Advance) -> Tensor:
    """Return the base model's mean-pooled vectors, (n, hidden) float32; ``advance`` hears how many texts are done."""
    return _forward(model, tokens, advance, base=True)[0]


def tuned_vectors(model: TunedModel, tokens: Sequence[TokenIds], advance: Advance) -> tuple[Tensor, Tensor]:
    """Return the tuned model's mean-pooled vectors and what its sentiment head makes of the texts, both float32."""
    return _forward(model, tokens, advance, base=False)


@dataclass(frozen=True, slots=True)
class DevAnswers:
    """What a model says of one set's dev texts. vectors: (n, hidden); seen: (n, units) by its head; truth: (n,).

    aside: (n, 3) what the words say by themselves; zeros until that is fitted.
    """

    vectors: Tensor
    seen: Tensor
    truth: npt.NDArray[np.int64]
    tokens: list[TokenIds]
    aside: Tensor


def dev_answers(
    config: TrainConfig, model: TunedModel, sets: Sequence[Prepared], rows: int | None, watch: Callable[[int], Advance]
) -> dict[int, DevAnswers]:
    """Return, by place of the set, the answers for its dev texts (the first ``rows`` of a fixed order, or all).

    ``watch`` is told how many texts there are, and returns who hears how many are done.
    """
    orders = {index: np.random.default_rng(config.seed).permutation(len(one.dev_tokens))[:rows] for index, one in enumerate(sets)}
    advance = watch(sum(map(len, orders.values())))
    found = {}
    for index, chosen in orders.items():
        if len(chosen):
            tokens = [sets[index].dev_tokens[place] for place in chosen]
            vectors, seen = tuned_vectors(model, tokens, advance)
            found[index] = DevAnswers(vectors, seen, sets[index].dev_classes[chosen], tokens, torch.zeros(len(chosen), 3))
    return found


def dev_scores(model: TunedModel, sets: Sequence[Prepared], answers: dict[int, DevAnswers]) -> dict[str, Scores]:
    """Return the scores by name of the set."""
    found = {}
    for index, own in answers.items():
        one = sets[index]
        if is_intent(one):
            logits = model.intent_logits(index, own.vectors.to(model.trunk.device)).detach().cpu()
            found[one.config.name] = score(torch.softmax(logits, 1).numpy(), own.truth)
        else:
            found[one.config.name] = sentiment_scores(model.sentiment, one, own)
    return found


def sentiment_scores(head: SentimentHead, one: Prepared, own: DevAnswers) -> Scores:
    """Return the scores of one sentiment set, neutral ruled out where it knows none."""
    device = head.cooling.device
    with torch.no_grad():
        logits = head.answer(own.seen.to(device), own.aside.to(device)).cpu()
    probabilities = torch.softmax(logits, 1).numpy()
    return score(without_class(probabilities, NEUTRAL) if one.two_class else probabilities, own.truth)


Pass = Callable[[Batch, bool], dict[str, Tensor]]


def _pass(config: TrainConfig, model: TunedModel, sets: Sequence[Prepared]) -> Pass:
    """Return what adds up the gradients of a batch and tells its losses: a recorded step where that works and fits, or not."""

    def plain(batch: Batch, with_base: bool) -> dict[str, Tensor]:
        terms = model.losses(batch, with_base)
        (model.total(terms) / config.accumulate).backward()  # type: ignore[no-untyped-call]
        return {name: value.detach() for name, value in terms.items()}

    if not model.has_kernel or config.accumulate > 1:
        return plain
    shape = shape_of(config, sets)
    recorded = RecordedStep(model, shape)
    return lambda batch, with_base: (recorded if fits(batch, shape) else plain)(batch, with_base)


def _step(
    config: TrainConfig, model: TunedModel, run: Pass, optimiser: torch.optim.Optimizer, parts: list[Batch], step: int
) -> dict[str, Tensor]:
    torch.manual_seed(config.seed * 1_000_003 + step)  # dropout, the same after a resume
    model.train()
    factor = _rate_factor(step, config)
    for group in optimiser.param_groups:
        group["lr"] = group["initial_lr"] * factor
    with_base = config.mode != "frozen" and config.distillation > 0 and step % config.distil_every == 0
    noted: dict[str, Tensor] = {}
    for part in parts:
        noted |= run(part, with_base)
    torch.nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_NORM)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return noted


def _note(losses: dict[str, Tensor], step: int, watch: Watch) -> None:
    """Tell of a step's losses; on a GPU this waits for it. Raises ModelError when one is no finite number."""
    values = {name: float(value) for name, value in losses.items()}
    if wrong := [f"{value} ({name})" for name, value in values.items() if not math.isfinite(value)]:
        raise ModelError(f"the loss of step {step} is {', '.join(wrong)}; lower trunk_rate and head_rate, or use precision fp32")
    watch.on_step(step, values)
    for name, value in values.items():
        watch.curves.add_scalar(f"loss/{name}", value, step)


def _rate_factor(step: int, config: TrainConfig) -> float:
    warm = max(1, round(config.warm_up * config.steps))
    return min(step / warm, max(0.0, (config.steps - step) / max(1, config.steps - warm)))


def _judge(
    config: TrainConfig, model: TunedModel, sets: Sequence[Prepared], progress: Progress, folder: Path, watch: Watch
) -> None:
    answers = dev_answers(config, model, sets, config.dev_rows, lambda total: watch.counting(progress.step, "dev", total))
    scores = dev_scores(model, sets, answers)
    metrics = {one.config.name: float(getattr(scores[one.config.name], one.config.metric)) for one in sets if one.dev_tokens}
    mean = float(np.mean(list(metrics.values())))
    watch.on_dev(progress.step, metrics | {"mean": mean})
    for name, value in metrics.items():
        watch.curves.add_scalar(f"dev/{name}", value, progress.step)
    if mean > progress.best:
        progress.best, progress.best_step, progress.idle = mean, progress.step, 0
        save(folder / "best", model, torch.optim.AdamW(model.parameters()), progress)
    else:
        progress.idle += 1


def _optimiser(model: TunedModel, config: TrainConfig) -> torch.optim.AdamW:
    groups = []
    for chosen, rate in (
        (model.layers, config.trunk_rate),
        (model.sentiment, config.head_rate),
        (model.intents, config.head_rate),
    ):
        parameters = list(chosen.parameters())
        if parameters:
            groups.append({"params": parameters, "lr": rate, "initial_lr": rate})
    return torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=model.trunk.device.type == "cuda")


def _forward(model: TunedModel, tokens: Sequence[TokenIds], advance: Advance, base: bool) -> tuple[Tensor, Tensor]:
    model.eval()
    hidden = model.trunk.words.shape[1]
    vectors = torch.empty(len(tokens), hidden)
    seen = torch.empty(len(tokens), model.sentiment.out.in_features)
    with torch.no_grad():
        for packed in pack(tokens, EVALUATION_ROWS[model.trunk.device.type == "cuda"]):
            features, base_means, members = model.pooled(packed, with_base=base)
            vectors[members] = (features[:, :hidden] if base_means is None else base_means).cpu()
            seen[members] = model.sentiment.seen(features).cpu()
            advance(len(members))
    return vectors, seen
