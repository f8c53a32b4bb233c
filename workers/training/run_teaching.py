"""Let a teacher say what it makes of the training texts of a recipe, of each while it was kept from it: fold by fold."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pipeline.adapters.files import published_file, sha256_of
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings
from workers.evaluation.metrics import score
from workers.model.model_store import refuse_broken
from workers.model.transformer import find_device
from workers.training.claim import claim, versions
from workers.training.config import DataSet, read_config
from workers.training.data import Prepared, data_hashes, outline, prepared
from workers.training.finish import summary
from workers.training.run import Tellers
from workers.training.teacher import Course, Place, Teacher, TeacherTokenizer, chances, learn
from workers.training.teaching import Chances, write_taught

Said = dict[str, Chances]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which teacher, a folder that transformers can read, reads which sets (all where none is named), and how it learns."""

    teacher: Path
    names: tuple[str, ...] = ()
    course: Course = Course()


def teach(recipe: Path, plan: Plan, settings: Settings, out: Path, tellers: Tellers) -> dict[str, dict[str, float]]:
    """Write ``out``/SET.jsonl.gz of every set; return the scores on dev, and on the training texts while they were kept away.

    A killed call goes on after its last whole fold. Raises ConfigurationError for a wrong recipe or name and for an ``out``
    that holds another call's, and ModelError for a folder without a transformer.
    """
    show, tell = tellers
    config = read_config(recipe)
    device = find_device(config.device, "device")
    config = config.model_copy(update={"data": _chosen(config.data, plan.names)})
    for path in sorted(plan.teacher.glob("*.safetensors")):
        refuse_broken(path, "fetch the teacher again, or name another folder")
    inputs = {"data": data_hashes(config.data, settings.data), "teacher": _hashes(plan.teacher), "course": _told(plan.course)}
    tokenizer = TeacherTokenizer(plan.teacher, plan.course.max_tokens)
    tell("reading data")
    sets = prepared(config, settings.data, tokenizer)
    claim(out, config, inputs)
    torch.set_num_threads(config.threads)
    folds = _folds([one.texts for one in sets], plan.course)
    said = []
    for number in range(plan.course.folds):
        tell(f"fold {number + 1} of {plan.course.folds}")
        said.append(_fold(number, _Class(device, plan, sets, folds), out / f"fold-{number}.safetensors", show))
    scores = {name: found for one, own in zip(sets, folds, strict=True) for name, found in _publish(one, own, said, out).items()}
    with published_file(out / "record.json") as scratch:
        record = {**inputs, "course": asdict(plan.course), "versions": versions(), "scores": scores}
        scratch.write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return scores


@dataclass(frozen=True, slots=True)
class _Class:
    """Who sits in a fold. folds: of each set, the fold of each text."""

    device: torch.device
    plan: Plan
    sets: Sequence[Prepared]
    folds: Sequence[npt.NDArray[np.int64]]

    def places(self, number: int) -> list[Place]:
        """Return the texts that the teacher of a fold learns from."""
        return [(index, int(row)) for index, own in enumerate(self.folds) for row in np.flatnonzero(own != number)]


def _fold(number: int, pupils: _Class, path: Path, show: Any) -> Said:
    """Return what the teacher of a fold says of the texts that were kept from it, and of dev; from the disk if it is there."""
    if path.is_file():
        return _said(path)
    course, sets = pupils.plan.course, pupils.sets
    teacher = Teacher(pupils.plan.teacher, sets, course.seed).to(pupils.device)
    places, done = pupils.places(number), 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        show(done, course.epochs * len(places), f"fold {number + 1} of {course.folds}")

    learn(teacher, sets, places, course, advance)
    said = {}
    for index, one in enumerate(sets):
        kept = [one.tokens[row] for row in np.flatnonzero(pupils.folds[index] == number)]
        said[f"{one.config.name}.kept"] = chances(teacher, index, kept, course.batch_tokens)
        said[f"{one.config.name}.dev"] = chances(teacher, index, one.dev_tokens, course.batch_tokens)
    with published_file(path, SafetensorError) as scratch:
        save_file(said, scratch)
    return said


def _said(path: Path) -> Said:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}); remove it, and the fold is taught again") from error


def _publish(one: Prepared, folds: npt.NDArray[np.int64], said: Sequence[Said], out: Path) -> dict[str, dict[str, float]]:
    name = one.config.name
    kept = np.zeros((len(one.texts), 3), dtype=np.float32)
    for number, own in enumerate(said):
        kept[folds == number] = own[f"{name}.kept"]
    write_taught(out / f"{name}.jsonl.gz", one.texts, kept)
    dev = np.mean([own[f"{name}.dev"] for own in said], axis=0)
    return {f"{name}, kept away": summary(score(kept, one.classes))} | (
        {f"{name}, dev": summary(score(dev, one.dev_classes))} if len(dev) else {}
    )


def _chosen(sets: Sequence[DataSet], names: Sequence[str]) -> tuple[DataSet, ...]:
    """Return the sentiment sets of these names, or all. Raises ConfigurationError for a name that is none."""
    known = {one.name: one for one in sets if one.task == "sentiment"}
    if wrong := [name for name in names if name not in known]:
        raise ConfigurationError(f"--set {', '.join(wrong)}: no sentiment set of the recipe; choose from {', '.join(known)}")
    return tuple(known[name] for name in names or known)


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in sorted(folder.glob("*")) if path.is_file()}


def _told(course: Course) -> dict[str, str]:
    return {name: str(value) for name, value in asdict(course).items()}


def _folds(sets: Sequence[Sequence[str]], course: Course) -> list[npt.NDArray[np.int64]]:
    """Return the fold of each text of each set; copies share theirs, in whatever sets they are: no teacher has read another."""
    outlines = [[outline(text) for text in texts] for texts in sets]
    distinct = sorted(set(chain.from_iterable(outlines)))
    drawn = np.random.default_rng(course.seed).integers(0, course.folds, len(distinct))
    places = dict(zip(distinct, drawn.tolist(), strict=True))
    return [np.array([places[one] for one in own]) for own in outlines]
