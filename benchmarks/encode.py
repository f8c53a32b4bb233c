"""How fast the encoder is, beside what others would run: the same texts, one core, one run.

    python -m benchmarks.encode [--texts FILE] [--count 600] [--rounds 3] [--device cpu] [--out DIR] [--json]

Contestants take turns, round by round, so that a busy moment hits all of them; a rate is that of a contestant's fastest
round, and ratios are between rates of this run. De-duplication and caches are off.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from benchmarks import encode_contestants, encode_peers, machine
from benchmarks.encode_contestants import DEFAULT
from benchmarks.peaks import peaks as measured_peaks
from pipeline.adapters.files import published_file, refuse_unwritable
from pipeline.commands.encode import read_texts
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings, load
from workers.encoder import TokenIds
from workers.forward.packing import pack, padding_ratio
from workers.model.transformer import TransformerEncoder

LAYERS, WIDTH, INNER = 12, 384, 1536
TEI_RATIO = 2.4  # the short-text ratio published for it: Snowflake, "Scaling vLLM for Embeddings"
HOPPER_FLOPS = 790e12
TYPICAL_TOKENS, EVEN_TOKENS, TRIALS = 42, 1 << 20, 5
PACKAGES = ("torch", "transformers", "sentence-transformers", "onnxruntime", "openvino", "tokenizers", "numpy", "numba")


@dataclass(frozen=True, slots=True)
class Rate:
    """What one contestant reached. share_of_peak: its FLOPs over those of a large product in its number format."""

    seconds: float
    texts_per_s: float
    tokens_per_s: float
    share_of_peak: float | None
    memory_bytes: int


def measure(settings: Settings, texts: Sequence[str], rounds: int, device: str, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return rates, ratios, padding and versions."""
    torch.set_num_threads(1)
    field = encode_contestants.gather(settings, device, tell)
    tokens = field.encoder.tokenize(texts)
    lengths = [len(ids) for ids in tokens]
    seconds, vectors = _rounds(field, texts, rounds, tell)
    peaks = measured_peaks(device)
    rates = {
        name: _rate(name, min(times), field.share(name, lengths), peaks, field.memory[name]) for name, times in seconds.items()
    }
    found = ratios({name: rate.texts_per_s for name, rate in rates.items()})
    return {
        "texts": len(texts),
        "tokens": sum(lengths),
        "rates": {name: asdict(rate) for name, rate in rates.items()},
        "ratios": found,
        "padding": {
            "ours": padding_ratio(pack(tokens, field.encoder.bin_tokens)),
            "batches_of_32": encode_peers.padded_share(lengths),
        },
        "cosine_to_fp32": _agreement(vectors),
        "peak_gflops": {kind: value / 1e9 for kind, value in peaks.items()},
        "machine": {**machine.describe(PACKAGES), "device": device, "threads": 1},
    } | (_on_gpu(field.encoder, tokens, rates, found) if device == "cuda" else {})


def _rounds(
    field: encode_contestants.Field, texts: Sequence[str], rounds: int, tell: Callable[[str], None]
) -> tuple[dict[str, list[float]], dict[str, npt.NDArray[np.float32]]]:
    seconds: dict[str, list[float]] = {name: [] for name in field.run}
    vectors = {}
    for turn in range(rounds):
        for name, run in field.run.items():
            own = field.share(name, texts)
            started = time.perf_counter()
            vectors[name] = run(own)
            seconds[name].append(time.perf_counter() - started)
            tell(f"round {turn + 1}: {name} {len(own) / seconds[name][-1]:.0f} texts/s")
    return seconds, vectors


def _on_gpu(
    encoder: TransformerEncoder, tokens: Sequence[TokenIds], rates: dict[str, Rate], found: dict[str, float]
) -> dict[str, Any]:
    """Return our bf16 beside text-embeddings-inference's published ratio, the bare trunk, and a Hopper chip's bf16 peak."""
    ours = "ours bf16"
    bare = trunk_seconds(encoder, tokens)
    even = [np.arange(4, 4 + TYPICAL_TOKENS, dtype=np.int32)] * (EVEN_TOKENS // TYPICAL_TOKENS)
    flops = flops_per_token([TYPICAL_TOKENS]) * TYPICAL_TOKENS * len(even) / trunk_seconds(encoder, even)
    return {
        "text_embeddings_inference": {"published_ratio": TEI_RATIO, "ours_over_it": found[f"{ours} / {DEFAULT}"] / TEI_RATIO},
        "end_to_end_over_bare_trunk": bare / rates[ours].seconds,
        "trunk_tflops": flops / 1e12,
        "trunk_share_of_790_tflops": flops / HOPPER_FLOPS,
    }


def trunk_seconds(encoder: TransformerEncoder, tokens: Sequence[TokenIds]) -> float:
    """Return how long the trunk alone takes on a GPU for texts that are laid out already; the fastest of some trials."""
    run = encoder.bare_trunk(tokens)
    times = []
    for _ in range(TRIALS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return min(times)


def ratios(rates: dict[str, float]) -> dict[str, float]:
    """Return our fastest mode and each of our modes over the peers, and one pass over three."""
    ours = {name: rate for name, rate in rates.items() if name.startswith("ours") and "passes" not in name}
    peers = {name: rate for name, rate in rates.items() if not name.startswith("ours")}
    best_peer = max(peers.values())
    found = {f"{name} / {DEFAULT}": rate / peers[DEFAULT] for name, rate in ours.items()}
    found |= {f"{name} / best peer": rate / best_peer for name, rate in ours.items()}
    three = [name for name in rates if "three passes" in name]
    return found | {f"one pass / {name}": rates[name.replace(", three passes", "")] / rates[name] for name in three}


def flops_per_token(lengths: Sequence[int]) -> float:
    """Return 2·L·(4d² + 2·d·d_ff) + 4·L·S·d, averaged over the tokens of texts with S tokens."""
    squares = sum(length * length for length in lengths)
    return 2 * LAYERS * (4 * WIDTH**2 + 2 * WIDTH * INNER) + 4 * LAYERS * WIDTH * squares / sum(lengths)


def draw(report: dict[str, Any], target: Path) -> None:
    """Draw the texts a second of every contestant."""
    from matplotlib.figure import Figure

    rates = sorted(report["rates"].items(), key=lambda item: item[1]["texts_per_s"])
    figure = Figure(figsize=(8, 0.5 + 0.4 * len(rates)), layout="constrained")
    axes = figure.add_subplot()
    colours = ["#2b6cb0" if name.startswith("ours") else "#a0aec0" for name, _ in rates]
    bars = axes.barh([name for name, _ in rates], [rate["texts_per_s"] for _, rate in rates], color=colours)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set(
        xlabel=f"texts a second, {'one core' if report['machine']['device'] == 'cpu' else 'one GPU'}",
        title=f"{report['texts']} texts, {report['tokens']} tokens",
    )
    with published_file(target) as scratch:
        figure.savefig(scratch, dpi=120)


def drawn_texts(path: Path | None, settings: Settings, count: int) -> list[str]:
    """Return normal forms: of a file, or of stocknet_2014 and zh_guba in equal parts. Raises ConfigurationError."""
    paths = (
        [path] if path else [settings.data / "streams/stocknet_2014.jsonl.gz", settings.data / "sentiment/zh_guba.train.jsonl.gz"]
    )
    texts: list[str] = []
    for one in paths:
        found, share = list(dict.fromkeys(filter(None, read_texts(one)))), max(1, count // len(paths))
        texts += found[:: max(1, len(found) // share)][:share]
    if not texts:
        raise ConfigurationError(f"--texts: {', '.join(map(str, paths))}: holds no text")
    np.random.default_rng(0).shuffle(texts)
    return texts


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encode", description=__doc__)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    settings = load()
    console = Console(stderr=True)
    if options.out:
        refuse_unwritable(options.out)
    texts = drawn_texts(options.texts, settings, options.count)
    report = measure(settings, texts, options.rounds, options.device, console.print)
    console.print(_table(report))
    if options.out:
        draw(report, options.out / "encode.png")
        (options.out / "encode.json").write_text(json.dumps(report, indent=2), "utf-8")
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")


def _rate(name: str, seconds: float, lengths: Sequence[int], peaks: dict[str, float], memory: int) -> Rate:
    kind = next((kind for kind in peaks if kind in name), "fp32")
    passes = 3 if "three passes" in name else 1
    share = passes * flops_per_token(lengths) * sum(lengths) / seconds / peaks[kind]
    return Rate(seconds, len(lengths) / seconds, sum(lengths) / seconds, share, memory)


def _agreement(vectors: dict[str, npt.NDArray[np.float32]]) -> dict[str, float]:
    truth = vectors["ours fp32"]
    ours = [name for name in vectors if name.startswith("ours") and "passes" not in name]
    return {name: float((vectors[name] * truth).sum(1).min()) for name in ours}


def _table(report: dict[str, Any]) -> Table:
    table = Table("", "texts/s", "tokens/s", "of peak", "memory MB")
    for name, rate in report["rates"].items():
        share = f"{100 * rate['share_of_peak']:.0f} %"
        table.add_row(
            name, f"{rate['texts_per_s']:.1f}", f"{rate['tokens_per_s']:.0f}", share, f"{rate['memory_bytes'] / 1e6:.0f}"
        )
    return table


if __name__ == "__main__":
    main()
