"""What an encoder is, without loading it whole: for people who must decide whether to trust it."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from pipeline.settings import EncoderSettings
from workers.model import model_store, shipped
from workers.model.revisions import revision_of, space_of
from workers.model.transformer import MODES, choose_mode, find_device, offered_modes


def describe(settings: EncoderSettings, cache: Path) -> dict[str, Any]:
    """Return revision, hashes, parameters, training data with its cut-off date, and the modes this machine offers.

    Every file is checked on the way. Raises ModelError.
    """
    folder, manifest = model_store.verified(settings.model, cache)
    trained = shipped.load(settings.weights or shipped.SHIPPED)
    device = find_device(settings.device)
    mode = choose_mode(settings.mode, device)
    record = trained.record
    return {
        "model": settings.model,
        "revision": revision_of(manifest.files | trained.identity, trained.name, mode, settings.max_tokens),
        "vector_space": space_of(manifest, trained, mode, settings.max_tokens),
        "hash": manifest.files["model.safetensors"],
        "weights": trained.hashes,
        "origin": manifest.origin,
        "base_matches_training": record.get("base", {}).get("files") == manifest.files,
        "parameters": _parameters(folder / "model.safetensors"),
        "adapter_parameters": sum(tensor.numel() for tensor in trained.part("adapter").values()),
        "intents": list(trained.intents),
        "training_data": record.get("data", {}),
        "training_data_cut_off": record.get("data_cut_off", "unknown"),
        "dev": record.get("dev", {}),
        "seed": record.get("seed"),
        "device": str(device),
        "mode": mode,
        "modes": list(offered_modes(device)),
        "max_tokens": settings.max_tokens,
        "torch": torch.__version__,
    }


def cut_off_of(revision: str, settings: EncoderSettings) -> str | None:
    """Return what the configured weights say of the dates of their training data, if ``revision`` is theirs in some mode."""
    trained = shipped.load(settings.weights or shipped.SHIPPED)
    record = trained.record
    files = record.get("base", {}).get("files", {}) | trained.identity
    known = {revision_of(files, trained.name, mode, settings.max_tokens) for mode in MODES}
    return record.get("data_cut_off") if revision in known else None


def _parameters(path: Path) -> int:
    total = 0
    with safe_open(path, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 - safe_open is no mapping
            count = 1
            for size in file.get_slice(name).get_shape():
                count *= size
            total += count
    return total
