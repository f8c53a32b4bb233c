"""Training texts as the loop needs them: token ids, class indices, class weights."""

import re
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.adapters.files import sha256_of
from pipeline.errors import ConfigurationError
from workers.encoder import SENTIMENTS, TokenIds
from workers.evaluation.labelled import Labelled, read_labelled
from workers.training.augment import Chances, altered
from workers.training.config import DataSet, TrainConfig

NEUTRAL = SENTIMENTS.index("neutral")
_ADDRESSED = re.compile(r"\bhttp\b|@user\b")
Tokenize = Callable[[Sequence[str]], list[TokenIds]]
_NO_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Prepared:
    """One labelled set. weights: (k,) of each class in the loss; two_class: no neutral text in it.

    texts: their normal forms; altered: one altered form of each training text, where the run augments. taught: (n, 3) float32,
    the chance of each sentiment by the set's teachers, NaN where they say nothing.
    """

    config: DataSet
    tokens: list[TokenIds]
    classes: npt.NDArray[np.int64]
    names: tuple[str, ...]
    weights: npt.NDArray[np.float32]
    dev_tokens: list[TokenIds]
    dev_classes: npt.NDArray[np.int64]
    texts: Sequence[str] = ()
    altered: list[TokenIds] = field(default_factory=list)
    taught: npt.NDArray[np.float32] | None = None

    @property
    def two_class(self) -> bool:
        """Return whether the set knows no neutral texts."""
        return self.config.task == "sentiment" and NEUTRAL not in self.classes

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Return the tokens of each training text."""
        return np.array([len(ids) for ids in self.tokens], dtype=np.int64)

    def targets(self, taught_share: float) -> npt.NDArray[np.float32]:
        """Return the chances that a sentiment head should give each training text, (n, 3) float32; zeros for a set of intents."""
        if self.config.task == "intent":
            return np.zeros((len(self.tokens), len(SENTIMENTS)), dtype=np.float32)
        own = np.eye(len(SENTIMENTS), dtype=np.float32)[self.classes]
        if self.taught is None:
            return own
        return np.where(np.isnan(self.taught), own, (1 - taught_share) * own + taught_share * self.taught)

    @property
    def size(self) -> str:
        """Return how many training texts there are, in words, and of how many teachers say something."""
        taught = "" if self.taught is None else f", {int((~np.isnan(self.taught[:, 0])).sum()):,} of them taught"
        return f"{self.config.name} {len(self.tokens):,} texts{taught}"


def held_out(sets: Sequence[DataSet], root: Path) -> frozenset[str]:
    """Return the ``outline`` of every dev text of every set: none of them may stand in any set's training texts."""
    texts = (text for one in sets if one.dev for text in read_labelled(root / one.dev).texts)
    return frozenset(outline(text) for text in texts)


def outline(text: str) -> str:
    """Return a normal form without links, mentions, spaces, punctuation and case: what copies of one post have in common."""
    return _NO_WORD.sub("", _ADDRESSED.sub("", text.lower()))


def prepare(config: DataSet, root: Path, tokenizer: Tokenize, run: TrainConfig, kept_apart: frozenset[str]) -> Prepared:
    """Read, check and tokenise one set. Training texts whose outline is in ``kept_apart`` are left out."""
    allowed = SENTIMENTS if config.task == "sentiment" else None
    train = read_labelled(root / config.train, allowed)
    names = SENTIMENTS if config.task == "sentiment" else tuple(sorted(set(train.labels)))
    dev = read_labelled(root / config.dev, names) if config.dev else Labelled((), ())
    kept = [place for place, text in enumerate(train.texts) if text and outline(text) not in kept_apart]
    if not kept:
        raise ConfigurationError(f"data.{config.name}: every text of {config.train} also stands in a dev file; split them")
    classes = _indices([train.labels[place] for place in kept], names)
    texts = [train.texts[place] for place in kept]
    return Prepared(
        config=config,
        tokens=tokenizer(texts),
        classes=classes,
        names=names,
        weights=class_weights(classes, len(names), run.class_balance),
        dev_tokens=tokenizer(dev.texts),
        dev_classes=_indices(dev.labels, names),
        texts=texts,
        altered=tokenizer(_altered(texts, config.name, run)) if run.augment else [],
    )


def prepared(run: TrainConfig, root: Path, tokenizer: Tokenize) -> list[Prepared]:
    """Return every set of a run."""
    apart = held_out(run.data, root)
    return [prepare(one, root, tokenizer, run, apart) for one in run.data]


def data_hashes(sets: Sequence[DataSet], root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file a run reads. Raises ConfigurationError that names the absent ones."""
    paths = [path for one in sets for path in (one.train, one.dev) if path is not None]
    if absent := [path for path in paths if not (root / path).is_file()]:
        raise ConfigurationError(f"data: {', '.join(absent)}: no such file in {root}; mend the recipe or set GROUNDSWELL_DATA")
    return {path: sha256_of(root / path) for path in paths}


def class_weights(classes: npt.NDArray[np.int64], count: int, balance: float) -> npt.NDArray[np.float32]:
    """Return weights proportional to frequency to the power of minus ``balance``, one on average over the texts."""
    present = Counter(classes.tolist())
    raw = np.array([present[index] ** -balance if present[index] else 0.0 for index in range(count)])
    mean = sum(raw[index] * number for index, number in present.items()) / len(classes)
    return np.asarray(raw / mean, dtype=np.float32)


def _altered(texts: Sequence[str], name: str, run: TrainConfig) -> list[str]:
    assert run.augment is not None
    chances = Chances(**run.augment.model_dump(exclude={"trial_steps", "share"}))
    draw = np.random.default_rng((run.seed, zlib.crc32(name.encode())))
    return [altered(text, chances, draw) for text in texts]


def _indices(labels: Sequence[str], names: Sequence[str]) -> npt.NDArray[np.int64]:
    place = {name: index for index, name in enumerate(names)}
    return np.array([place[label] for label in labels], dtype=np.int64)
