"""The end of a training run: whitening, calibration, intents and dev scores on the final trunk, then one folder to ship."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from workers.evaluation.metrics import Scores
from workers.forward.heads import SentimentHead, Whitening, fit_whitening
from workers.forward.lora import LowRankLinear
from workers.model import intents, shipped, wording
from workers.model.model_store import Manifest
from workers.model.ngrams import of_tokens
from workers.model.tokenizer import TextTokenizer
from workers.training import wording_fit
from workers.training.calibration import Evidence, fit_cooling
from workers.training.claim import versions
from workers.training.config import TrainConfig
from workers.training.data import Prepared
from workers.training.feed import training_sample
from workers.training.loop import DevAnswers, Watch, dev_answers, dev_scores, tuned_vectors
from workers.training.tuned import FullLinear, TunedModel, is_intent

SHRINKAGE: Final = 0.2  # of what is served: more than in training, since texts of other kinds than these come too
ADAPTER_BASE_NOTE = "The adapter was trained on these very base weights; other weights of the same model are close, not the same."


@dataclass(frozen=True, slots=True)
class Texts:
    """What a run reads: its sets, the examples of intents, and how texts become tokens."""

    sets: Sequence[Prepared]
    intents: intents.IntentSet
    tokenizer: TextTokenizer


def finish(
    config: TrainConfig, model: TunedModel, texts: Texts, watch: Watch, step: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors to ship, and of the record what the model says: intents and dev scores. step: the run's last one."""
    sets = texts.sets
    model.scale_change(config.keep)
    answers = dev_answers(config, model, sets, None, lambda total: watch.counting(step, "dev", total))
    watch.on_phase("fitting what the words say")
    words = wording.tensors_of(wording_fit.fit(sets, config))
    answers = with_words(sets, answers, wording.load_wording(words))
    model.sentiment.cooling.copy_(calibration(model.sentiment, sets, answers))
    scores = dev_scores(model, sets, answers)
    sample, (examples, labels) = training_sample(sets, config), texts.intents.rows()
    advance = watch.counting(step, "vectors", len(sample) + len(examples))
    whitening = fit_whitening(tuned_vectors(model, sample, advance)[0], SHRINKAGE)
    asked = texts.tokenizer(examples)
    head = intents.fit(whitening(tuned_vectors(model, asked, advance)[0]), of_tokens(asked), labels)
    tensors = _tensors(model, whitening) | intents.tensors_of(head) | shipped.under("wording", words)
    return tensors, {
        "intents": list(head.names),
        "dev": {name: summary(found) for name, found in scores.items()},
    }


def with_words(sets: Sequence[Prepared], answers: dict[int, DevAnswers], words: wording.Wording) -> dict[int, DevAnswers]:
    """Return the answers for sentiment sets with what the words say beside them."""
    return {
        index: own if is_intent(sets[index]) else replace(own, aside=words(of_tokens(own.tokens)))
        for index, own in answers.items()
    }


def calibration(head: SentimentHead, sets: Sequence[Prepared], answers: dict[int, DevAnswers]) -> Tensor:
    """Return the cooling of the sentiment head that fits all dev texts best; none without dev texts."""
    found = []
    for index, own in answers.items():
        if sets[index].config.task == "sentiment" and len(own.truth) > 1:
            with torch.no_grad():
                logits = head.out(own.seen.to(head.cooling.device)).cpu() + own.aside
            found.append(Evidence(own.seen, logits, torch.from_numpy(own.truth), sets[index].two_class))
    return fit_cooling(found) if found else torch.zeros_like(head.cooling).cpu()


def publish(target: Path, tensors: dict[str, Tensor], config: TrainConfig, base: Manifest, facts: dict[str, Any]) -> None:
    """Publish the weights folder with the record of its run."""
    record = {
        "name": config.name,
        "base": {"model": base.name, "origin": base.origin, "files": base.files, "note": ADAPTER_BASE_NOTE},
        "config": config.model_dump(mode="json"),
        "seed": config.seed,
        "data_cut_off": config.data_cut_off,
        "versions": versions(),
        **facts,
    }
    shipped.save(target, tensors, record)


def summary(scores: Scores) -> dict[str, float]:
    """Return the scores as plain numbers, rounded to a hundredth of a point."""
    names = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "ece")
    return {"n": scores.n} | {name: round(float(getattr(scores, name)), 4) for name in names}


def _tensors(model: TunedModel, whitening: Whitening) -> dict[str, Tensor]:
    tensors = {"whitening.mean": whitening.mean, "whitening.matrix": whitening.matrix}
    tensors |= shipped.under("sentiment", {name: value.detach().clone() for name, value in model.sentiment.state_dict().items()})
    for name, layer in model.layers.items():
        own = f"adapter.{name.replace('/', '.')}"
        if isinstance(layer, LowRankLinear):
            factors = layer.merged()
        else:
            assert isinstance(layer, FullLinear)
            factors = {"weight": layer.weight.detach(), "bias": layer.bias.detach()}
        tensors |= shipped.half({f"{own}.{part}": value for part, value in factors.items()})
    return tensors
