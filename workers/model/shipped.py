"""What training makes and the project ships: adapter, heads and whitening as small safetensors, and the record of the run.

A folder holds ``record.json`` and the files it names with their SHA-256; each file stays below a megabyte. Nothing is
read that the record does not vouch for.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.adapters.files import published_folder, sha256_of
from pipeline.errors import ConfigurationError, ModelError

RECORD: Final = "record.json"
SHIPPED: Final = Path(__file__).parents[1] / "weights"


@dataclass(frozen=True, slots=True)
class Shipped:
    """Trained tensors and the record of their run. tensors: ``adapter.``, ``sentiment.``, ``whitening.``, ``intents.`` names."""

    tensors: dict[str, Tensor]
    record: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors of one part under their own names."""
        begin = f"{prefix}."
        return {name.removeprefix(begin): tensor for name, tensor in self.tensors.items() if name.startswith(begin)}

    def without(self, part: str) -> dict[str, Tensor]:
        """Return the tensors of all other parts, under the names they have among all that is shipped."""
        return {name: tensor for name, tensor in self.tensors.items() if not name.startswith(f"{part}.")}

    @property
    def hashes(self) -> dict[str, str]:
        """Return the SHA-256 of every file."""
        return dict(self.record["files"])

    @property
    def name(self) -> str:
        """Return what the run was called; a revision begins with it."""
        return str(self.record["name"])

    @property
    def intents(self) -> tuple[str, ...]:
        """Return what the intents are called. Raises ModelError where the record does not say."""
        names = self.record.get("intents")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ModelError(f"{RECORD}: intents = {names!r} is no list of names; train again or reinstall")
        return tuple(names)

    @property
    def identity(self) -> dict[str, str]:
        """Return what tells these weights from others: every file's hash, and what the intents are called."""
        return self.hashes | {"intents": "\n".join(self.intents)}


def load(folder: Path) -> Shipped:
    """Return the weights of a folder.

    Raises ModelError that names the file that is missing, altered, no safetensors or left out of the record.
    """
    fix = "reinstall" if folder == SHIPPED else "train again, or name another folder in GROUNDSWELL_ENCODER__WEIGHTS"
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
        files = dict(record["files"])
        absent = _absent(record, files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / RECORD} is missing or cannot be read ({error}); {fix}") from error
    if absent:
        raise ModelError(f"{folder / RECORD} names no {', '.join(absent)}, which a run of its config ships; {fix}")
    if not isinstance(record.get("name"), str):
        raise ModelError(f"{folder / RECORD} lacks the run's name; {fix}")
    tensors: dict[str, Tensor] = {}
    for name, expected in files.items():
        path = folder / Path(name).name
        if not path.is_file():
            raise ModelError(f"{path} is missing; {fix}")
        try:
            if (found := sha256_of(path)) != expected:
                raise ModelError(f"{path} was altered: its SHA-256 is {found}, {RECORD} says {expected}; {fix}")
            tensors |= load_file(path)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"{path} cannot be read ({error}); {fix}") from error
    return Shipped(tensors, record)


def refuse_others(folder: Path) -> None:
    """Raise ConfigurationError where weights would take the place of a file, of something else, or of the working folder."""
    if Path.cwd().is_relative_to(folder.resolve()):
        raise ConfigurationError(f"{folder} is the folder you work in, whose place weights would take; choose a new folder")
    if folder.is_file() or (folder.is_dir() and not (folder / RECORD).is_file() and any(folder.iterdir())):
        raise ConfigurationError(f"{folder} holds something else than weights, which would be lost; choose a new folder")


def save(folder: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Publish the tensors, one file per part and layer, with a record that vouches for them. Raises as ``refuse_others``."""
    refuse_others(folder)
    files: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        files.setdefault(_file_of(name), {})[name] = tensor.contiguous()
    with published_folder(folder, SafetensorError) as scratch:
        hashes = {}
        for name, content in sorted(files.items()):
            save_file(content, scratch / name)
            (scratch / name).chmod(0o644)
            hashes[name] = sha256_of(scratch / name)
        text = json.dumps({**record, "files": hashes}, indent=2, ensure_ascii=False)
        (scratch / RECORD).write_text(text + "\n", "utf-8")


def under(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names they have among all that is shipped; ``Shipped.part`` takes them back."""
    return {f"{part}.{name}": tensor for name, tensor in tensors.items()}


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as float16."""
    return {name: tensor.to(torch.float16) for name, tensor in tensors.items()}


def _absent(record: Mapping[str, Any], files: Mapping[str, str]) -> list[str]:
    """Return what a record must name and does not, by its config: the record vouches for the files, and nothing for it."""
    config = record.get("config")
    if not isinstance(config, dict):
        return []
    kinds = record["wording"]["kinds"].values() if "wording" in record else [one.get("kind") for one in config.get("data", ())]
    parts = ["intents", "sentiment", "whitening", *sorted({f"wording-{kind}" for kind in kinds if kind})]
    absent = [f"{part}.safetensors" for part in parts if f"{part}.safetensors" not in files]
    layers = 0 if config.get("mode") == "frozen" else config.get("lora", {}).get("layers", 0)
    adapters = sum(name.startswith("adapter-") for name in files)
    return absent + ([f"adapter of {layers - adapters} of {layers} layers"] if adapters < layers else [])


def _file_of(name: str) -> str:
    part, _, rest = name.partition(".")
    if part == "wording":
        return f"wording-{rest.split('.')[0]}.safetensors"
    if part != "adapter":
        return f"{part}.safetensors"
    return f"adapter-{int(rest.split('.')[2]):02d}.safetensors"
