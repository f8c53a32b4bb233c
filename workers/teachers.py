"""Targets from earlier runs: what a text's sentiment is in the eyes of models that did not learn it by heart.

Labels of social text are noisy. A model trained on part of the texts judges the others without having seen their labels;
its probabilities, mixed with the label, are a better target than the label alone (Hinton et al. 2015, "Distilling the
knowledge in a neural network"; out of fold as in Wolpert 1992, "Stacked generalization").
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pipeline.settings import Settings
from workers import shipped
from workers.encoder import TokenIds
from workers.training_config import HoldOut, TrainConfig
from workers.training_data import Prepared
from workers.transformer import TransformerEncoder, load_encoder

_CHUNK = 2_048


@dataclass(frozen=True, slots=True)
class Teacher:
    """A trained model and the fold of the texts that it never saw; without one it speaks of all texts."""

    encoder: TransformerEncoder
    hold_out: HoldOut | None

    def speaks_of(self, tokens: Sequence[TokenIds]) -> npt.NDArray[np.int64]:
        """Return the places of the texts that it may judge."""
        fold = self.hold_out
        return np.array([place for place, ids in enumerate(tokens) if fold is None or fold.holds(ids)], np.int64)


def load_teachers(config: TrainConfig, settings: Settings) -> list[Teacher]:
    """Return the teachers of a run. Raises ModelError for a folder that holds no weights."""
    found = []
    for folder in config.teachers:
        own = settings.encoder.model_copy(update={"weights": folder, "max_tokens": config.max_tokens, "device": config.device})
        fold = shipped.load(folder).record["config"].get("hold_out")
        found.append(Teacher(load_encoder(own, settings.cache), HoldOut(**fold) if fold else None))
    return found


def identities(config: TrainConfig) -> dict[str, str]:
    """Return what tells each teacher's weights from others."""
    return {str(folder): "".join(shipped.load(folder).identity.values()) for folder in config.teachers}


def taught(one: Prepared, teachers: Sequence[Teacher], share: float) -> Prepared:
    """Return the set with a ``share`` of each target from the mean answer of those teachers that may judge the text."""
    if one.config.task != "sentiment" or not teachers:
        return one
    total, count = np.zeros_like(one.targets), np.zeros((len(one.tokens), 1), np.float32)
    for teacher in teachers:
        places = teacher.speaks_of(one.tokens)
        total[places] += _answers(teacher, [one.tokens[place] for place in places])
        count[places] += 1
    soft = np.zeros_like(total)
    soft[:, one.polar] = total[:, one.polar] / total[:, one.polar].sum(1, keepdims=True).clip(min=1e-9)
    return replace(one, targets=np.where(count > 0, (1 - share) * one.targets + share * soft, one.targets))


def _answers(teacher: Teacher, tokens: Sequence[TokenIds]) -> npt.NDArray[np.float32]:
    chunks = [tokens[start : start + _CHUNK] for start in range(0, len(tokens), _CHUNK)]
    return np.concatenate([np.zeros((0, 3), np.float32), *(teacher.encoder.encode(chunk).sentiment for chunk in chunks)])
