"""Whose a run folder is: what the run was told at its start, so that checkpoints are never mixed with another recipe's."""

import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from pipeline.adapters.files import mend, published_file, refuse_unwritable
from pipeline.errors import ConfigurationError
from workers.training.config import TrainConfig

RUN: Final = "run.json"
PACKAGES: Final = ("torch", "numpy", "safetensors", "sentencepiece", "tokenizers")
_FREE: Final = frozenset({"threads", "device", "checkpoint_every"})  # these change no batch and no score worth the name


def versions() -> dict[str, str]:
    """Return the versions that a run depends on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def claim(folder: Path, config: TrainConfig, inputs: dict[str, dict[str, str]]) -> None:
    """Note under ``folder`` what the run is made of: config, versions, and the hashes of all inputs.

    Of a run that goes on, what was left half-written when it was killed is removed. Raises ConfigurationError where nothing
    can be written, where the note cannot be read, and where the folder holds another run, naming what differs.
    """
    path = folder / RUN
    if path.is_file():
        differing = _differences(_standing(path), config, inputs)
        if differing:
            raise ConfigurationError(
                f"{folder} holds a run with another {', '.join(differing)}; choose another --out, or remove the folder"
            )
        mend(folder)
        return
    refuse_unwritable(folder)
    with published_file(path) as scratch:
        record = {"config": config.model_dump(mode="json"), "versions": versions(), **inputs}
        scratch.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _standing(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}); remove {path.parent}, or choose another --out") from error


def _differences(standing: dict[str, Any], config: TrainConfig, inputs: dict[str, dict[str, str]]) -> list[str]:
    try:
        before = TrainConfig(**standing["config"])
    except (ValidationError, KeyError, TypeError):
        return ["config"]
    keys = [key for key in TrainConfig.model_fields if key not in _FREE and getattr(before, key) != getattr(config, key)]
    own, there = _files(inputs), _files({kind: some for kind, some in standing.items() if kind not in ("config", "versions")})
    return keys + [name for name in own | there if own.get(name) != there.get(name)]


def _files(inputs: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {f"{kind}/{name}": value for kind, some in inputs.items() for name, value in some.items()}
