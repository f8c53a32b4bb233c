"""Whether training cost the vectors anything: neighbours and pairs, ours beside the base model's.

    python -m benchmarks.vectors [--count 2000] [--json]

Neighbours: the class of most of the five nearest labelled texts (banking77, hwu64), accuracy on dev; the trunk was trained on 770
of banking77's texts, and on all of hwu64's. Pairs: of OCNLI's entailed Chinese pairs, where the premise of a hypothesis ranks
among all premises (mean reciprocal rank), and how well cosine tells entailed pairs from contradicted ones (AUROC); nothing was
trained on these, so its train file, of which ``count`` pairs are drawn, serves as well as its smaller dev file.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from benchmarks import encode_peers, machine
from benchmarks.encode_contestants import ours
from pipeline.adapters.json_lines import read_objects
from pipeline.core.text import normalise
from pipeline.settings import load
from workers.evaluation.labelled import read_labelled
from workers.evaluation.metrics import auroc
from workers.model import model_store
from workers.model.transformer import load_encoder

NEIGHBOURS, SEED = 5, 7
SETS = ("banking77", "hwu64")
Vectors = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]


def neighbours(encode: Encode, folder: Path, name: str, count: int) -> float:
    """Return the accuracy of the majority of the nearest training texts; ``count`` of them are drawn."""
    train, dev = read_labelled(folder / f"{name}.train.jsonl.gz"), read_labelled(folder / f"{name}.dev.jsonl.gz")
    chosen = np.random.default_rng(SEED).permutation(len(train))[:count]
    known = encode([train.texts[place] for place in chosen])
    labels = np.array([train.labels[place] for place in chosen])
    nearest = np.argsort(-encode(dev.texts) @ known.T, axis=1)[:, :NEIGHBOURS]
    return float(np.mean([majority(labels[row]) == label for row, label in zip(nearest, dev.labels, strict=True)]))


def majority(labels: npt.NDArray[np.str_]) -> str:
    """Return the most frequent label; among equals that of the nearest."""
    found, first, counts = np.unique(labels, return_index=True, return_counts=True)
    return str(found[np.lexsort((first, -counts))[0]])


def pairs(encode: Encode, path: Path, count: int) -> dict[str, float]:
    """Return how entailed pairs rank, and how they differ from contradicted ones; at most ``count`` pairs are drawn.

    A premise that stands in several pairs is one candidate: its own copies would else be ahead of it or not by rounding.
    """
    rows = [row for _, row in read_objects(path) if row["label"] in ("entailment", "contradiction")]
    rows = [rows[place] for place in np.random.default_rng(SEED).permutation(len(rows))[:count]]
    premises, own = np.unique([normalise(str(row["premise"])) for row in rows], return_inverse=True)
    entailed = np.array([row["label"] == "entailment" for row in rows])
    scores = encode([normalise(str(row["hypothesis"])) for row in rows]) @ encode(premises.tolist()).T
    similar = np.take_along_axis(scores, own[:, None], 1)
    ranks = (scores > similar).sum(1)[entailed] + 1
    return {"mrr": float((1 / ranks).mean()), "auroc": auroc(similar[entailed, 0], similar[~entailed, 0])}


def measure(count: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return each check for our encoder and for its base model."""
    settings = load()
    encoder = load_encoder(settings.encoder, settings.cache)
    folder = encode_peers.plain_folder(model_store.verified(settings.encoder.model, settings.cache)[0], settings.cache)
    base = encode_peers.sentence_transformers_default(folder, settings.encoder.max_tokens, "cpu")
    found: dict[str, Any] = {"revision": encoder.revision, "machine": machine.describe(("torch", "sentence-transformers"))}
    for name, encode in (("ours", ours(encoder, 1)), ("base", base)):
        found[name] = {f"{one}_neighbours": neighbours(encode, settings.data / "intent", one, count) for one in SETS}
        for split in ("dev", "train"):
            ranked = pairs(encode, settings.data / f"nli/ocnli.{split}.jsonl.gz", count)
            found[name] |= {f"ocnli_{split}_{key}": value for key, value in ranked.items()}
        tell(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in found[name].items()))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print lines or one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vectors", description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    report = measure(options.count, Console(stderr=True).print)
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
