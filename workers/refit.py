"""A new set of intents on the weights that are there: seconds, no training of the trunk."""

from pathlib import Path

import torch

from pipeline.settings import EncoderSettings
from workers import evaluation, intents, shipped
from workers.transformer import load_encoder


def refit_intents(path: Path, settings: EncoderSettings, cache: Path, target: Path) -> tuple[str, ...]:
    """Fit the intents of a YAML file, publish the weights with that head under ``target``, and return its names.

    Raises ConfigurationError for a wrong file and ModelError for wrong weights.
    """
    examples = intents.read_intents(path)
    trained = shipped.load(settings.weights or shipped.SHIPPED)
    texts, labels = examples.rows()
    vectors = evaluation.answer(load_encoder(settings, cache, "fp32"), texts, lambda _: None).answers.vectors
    head = intents.fit(torch.from_numpy(vectors), labels)
    shipped.save(target, trained.tensors | intents.tensors_of(head), {**trained.record, "intents": list(head.names)})
    return head.names
