"""New heads on the trunk that is there: seconds for intents, a few minutes for what words say, no training of the trunk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from pipeline.adapters.files import refuse_unwritable, sha256_of
from pipeline.settings import EncoderSettings, Settings
from workers.encoder import SENTIMENTS
from workers.evaluation import measure
from workers.forward.heads import load_sentiment
from workers.model import intents, model_store, shipped, wording
from workers.model.ngrams import of_tokens
from workers.model.tokenizer import TextTokenizer
from workers.model.transformer import TransformerEncoder, load_encoder
from workers.training import wording_fit
from workers.training.claim import versions
from workers.training.config import TrainConfig, read_config
from workers.training.data import Prepared, data_hashes, prepared
from workers.training.finish import calibration, summary, with_words
from workers.training.loop import DevAnswers, sentiment_scores
from workers.training.run import Tellers

_AT_ONCE: Final = 256


def refit_intents(path: Path, settings: EncoderSettings, cache: Path, target: Path) -> tuple[str, ...]:
    """Fit the intents of a YAML file, publish the weights with that head under ``target``, and return its names.

    Raises ConfigurationError for a wrong file or a target that holds something else, and ModelError for wrong weights.
    """
    shipped.refuse_others(target)
    refuse_unwritable(target.parent)
    examples = intents.read_intents(path)
    trained = shipped.load(settings.weights or shipped.SHIPPED)
    texts, labels = examples.rows()
    measured = measure.answer(load_encoder(settings, cache, "fp32"), texts, lambda _: None)
    head = intents.fit(torch.from_numpy(measured.answers.vectors), of_tokens(measured.ids), labels)
    facts = {"intents": list(head.names), "intent_examples": sha256_of(path)}
    shipped.save(target, trained.without("intents") | intents.tensors_of(head), trained.record | facts)
    return head.names


def refit_wording(path: Path, settings: Settings, target: Path, tellers: Tellers) -> dict[str, dict[str, float]]:
    """Fit what words say on the sentiment sets of a training recipe, calibrate anew, publish under ``target``; return dev scores.

    ``tellers`` get progress in dev texts and lines of text. Raises ConfigurationError for a wrong recipe or row and ModelError
    for wrong weights.
    """
    shipped.refuse_others(target)
    refuse_unwritable(target.parent)
    config = read_config(path)
    config = config.model_copy(update={"data": tuple(one for one in config.data if one.task == "sentiment")})
    trained = shipped.load(settings.encoder.weights or shipped.SHIPPED)
    tokenizer = TextTokenizer(model_store.verified(settings.encoder.model, settings.cache)[0], config.max_tokens)
    show, tell = tellers
    tell("reading data")
    sets = prepared(config, settings.data, tokenizer)
    tell("fitting what the words say")
    words = wording.tensors_of(wording_fit.fit(sets, config))
    answers = _dev_answers(load_encoder(settings.encoder, settings.cache, "fp32"), sets, show)
    answers = with_words(sets, answers, wording.load_wording(words))
    head = load_sentiment(trained.part("sentiment"))
    head.cooling.copy_(calibration(head, sets, answers))
    scores = {sets[index].config.name: summary(sentiment_scores(head, sets[index], own)) for index, own in answers.items()}
    fitted = {"sentiment.cooling": head.cooling} | shipped.under("wording", words)
    facts = {"dev": trained.record.get("dev", {}) | scores, "wording": _told(config, settings)}
    shipped.save(target, trained.without("wording") | fitted, trained.record | facts)
    return scores


def _told(config: TrainConfig, settings: Settings) -> dict[str, Any]:
    """Return what the record says of the fit."""
    kinds = {one.name: one.kind for one in config.data}
    data = data_hashes(config.data, settings.data)
    return {"share": config.word_share, "kinds": kinds, "seed": config.seed, "data": data, "versions": versions()}


def _dev_answers(encoder: TransformerEncoder, sets: Sequence[Prepared], show: Callable[..., None]) -> dict[int, DevAnswers]:
    """Return what the trunk says of all dev texts; the words' part is still to come."""
    found, done, total = {}, 0, sum(len(one.dev_tokens) for one in sets)
    for index, one in enumerate(sets):
        parts = []
        for place in range(0, len(one.dev_tokens), _AT_ONCE):
            some = one.dev_tokens[place : place + _AT_ONCE]
            parts.append(encoder.seen(some))
            done += len(some)
            show(done, total, one.config.name)
        if parts:
            nothing, aside = torch.zeros(len(one.dev_tokens), 0), torch.zeros(len(one.dev_tokens), len(SENTIMENTS))
            found[index] = DevAnswers(nothing, torch.cat(parts), one.dev_classes, one.dev_tokens, aside)
    return found
