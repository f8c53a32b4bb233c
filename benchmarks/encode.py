"""How fast the encoder is, beside what others would run: the same texts, one core, one run.

    python -m benchmarks.encode [--texts FILE] [--count 600] [--rounds 3] [--out DIR] [--json]

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

from benchmarks import encode_peers, machine
from benchmarks.encode_peers import Contestant
from pipeline.core.text import normalise
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings, load
from workers import evaluation, model_store
from workers.labelled import open_text, read_rows
from workers.packing import pack, padding_ratio
from workers.publishing import published_file
from workers.transformer import CPU_ROWS, Mode, TransformerEncoder, find_device, load_encoder, offered_modes

DEFAULT = "sentence-transformers fp32"
LAYERS, WIDTH, INNER = 12, 384, 1536
PACKAGES = ("torch", "transformers", "sentence-transformers", "onnxruntime", "tokenizers", "numpy")


@dataclass(frozen=True, slots=True)
class Rate:
    """What one contestant reached. share_of_peak: its FLOPs over those of a large product in its number format."""

    seconds: float
    texts_per_s: float
    tokens_per_s: float
    share_of_peak: float | None
    memory_bytes: int


def measure(settings: Settings, texts: Sequence[str], rounds: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Return rates, ratios, padding and versions."""
    torch.set_num_threads(1)
    contestants, memory, encoder = _contestants(settings, tell)
    lengths = [len(ids) for ids in encoder.tokenize(texts)]
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    vectors = {}
    for turn in range(rounds):
        for name, run in contestants.items():
            started = time.perf_counter()
            vectors[name] = run(texts)
            seconds[name].append(time.perf_counter() - started)
            tell(f"round {turn + 1}: {name} {len(texts) / seconds[name][-1]:.0f} texts/s")
    peaks = {kind: peak(kind) for kind in ("fp32", "bf16", "int8")}
    rates = {name: _rate(name, min(times), lengths, peaks, memory[name]) for name, times in seconds.items()}
    return {
        "texts": len(texts),
        "tokens": sum(lengths),
        "rates": {name: asdict(rate) for name, rate in rates.items()},
        "ratios": ratios({name: rate.texts_per_s for name, rate in rates.items()}),
        "padding": {
            "ours": padding_ratio(pack(encoder.tokenize(texts), CPU_ROWS)),
            "batches_of_32": encode_peers.padded_share(lengths),
        },
        "cosine_to_fp32": _agreement(vectors),
        "peak_gflops": {kind: value / 1e9 for kind, value in peaks.items()},
        "machine": {**machine.describe(PACKAGES), "threads": 1},
    }


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


def peak(kind: str) -> float:
    """Return the operations a second of a large matrix product on one thread, the machine's own measure of its peak."""
    size = 1024
    left, right = torch.randn(size, size), torch.randn(size, size)
    if kind == "int8":
        small = (left.to(torch.int8), right.to(torch.int8))
        run: Callable[[], object] = lambda: torch._int_mm(*small)  # noqa: E731
    else:
        dtype = torch.bfloat16 if kind == "bf16" else torch.float32
        cast = (left.to(dtype), right.to(dtype))
        run = lambda: torch.matmul(*cast)  # noqa: E731
    times = []
    for _ in range(12):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times)


def draw(report: dict[str, Any], target: Path) -> None:
    """Draw the texts a second of every contestant."""
    from matplotlib.figure import Figure

    rates = sorted(report["rates"].items(), key=lambda item: item[1]["texts_per_s"])
    figure = Figure(figsize=(8, 0.5 + 0.4 * len(rates)), layout="constrained")
    axes = figure.add_subplot()
    colours = ["#2b6cb0" if name.startswith("ours") else "#a0aec0" for name, _ in rates]
    bars = axes.barh([name for name, _ in rates], [rate["texts_per_s"] for _, rate in rates], color=colours)
    axes.bar_label(bars, fmt="%.0f", padding=3)
    axes.set(xlabel="texts a second on one core", title=f"{report['texts']} texts, {report['tokens']} tokens")
    with published_file(target) as scratch:
        figure.savefig(scratch, dpi=120)


def read_texts(path: Path | None, settings: Settings, count: int) -> list[str]:
    """Return normal forms: of a file, or of stocknet_2014 and zh_guba in equal parts. Raises ConfigurationError."""
    paths = (
        [path] if path else [settings.data / "streams/stocknet_2014.jsonl.gz", settings.data / "sentiment/zh_guba.train.jsonl.gz"]
    )
    texts: list[str] = []
    for one in paths:
        found = list(dict.fromkeys(filter(None, map(normalise, _lines(one)))))
        step = max(1, len(found) * len(paths) // count)
        texts += found[::step][: count // len(paths)]
    if not texts:
        raise ConfigurationError(f"--texts {path}: holds no text")
    np.random.default_rng(0).shuffle(texts)
    return texts


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encode", description=__doc__)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    settings = load()
    console = Console(stderr=True)
    report = measure(settings, read_texts(options.texts, settings, options.count), options.rounds, console.print)
    console.print(_table(report))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        draw(report, options.out / "encode.png")
        (options.out / "encode.json").write_text(json.dumps(report, indent=2), "utf-8")
    if options.json:
        sys.stdout.write(json.dumps(report) + "\n")


def _contestants(
    settings: Settings, tell: Callable[[str], None]
) -> tuple[dict[str, Contestant], dict[str, int], TransformerEncoder]:
    folder = encode_peers.plain_folder(model_store.verified(settings.encoder.model, settings.cache)[0], settings.cache)
    limit = settings.encoder.max_tokens
    makers: dict[str, Callable[[], Contestant]] = {
        DEFAULT: lambda: encode_peers.sentence_transformers_default(folder, limit),
        "sentence-transformers bf16": lambda: encode_peers.sentence_transformers_bf16(folder, limit),
        "transformers one by one": lambda: encode_peers.transformers_one_by_one(folder, limit),
        "ONNX Runtime fp32": lambda: encode_peers.onnxruntime_model(folder, limit, settings.cache, int8=False),
        "ONNX Runtime int8": lambda: encode_peers.onnxruntime_model(folder, limit, settings.cache, int8=True),
    }
    encoders: dict[Mode, TransformerEncoder] = {}
    contestants: dict[str, Contestant] = {}
    memory = {}
    for mode in offered_modes(find_device("cpu")):
        before = _resident_bytes()
        encoders[mode] = load_encoder(settings.encoder.model_copy(update={"device": "cpu"}), settings.cache, mode)
        contestants[f"ours {mode}"] = _ours(encoders[mode], passes=1)
        memory[f"ours {mode}"] = _resident_bytes() - before
    fastest = next(iter(encoders))
    contestants[f"ours {fastest}, three passes"] = _ours(encoders[fastest], passes=3)
    memory[f"ours {fastest}, three passes"] = 3 * memory[f"ours {fastest}"]
    for name, make in makers.items():
        before = _resident_bytes()
        contestants[name] = make()
        contestants[name](["warm up"])
        memory[name] = _resident_bytes() - before
        tell(f"{name}: ready")
    return contestants, memory, encoders[fastest]


def _ours(encoder: TransformerEncoder, passes: int) -> Contestant:
    def run(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        for _ in range(passes):
            vectors = evaluation.answer(encoder, texts, lambda _: None).answers.vectors
        return vectors

    return run


def _rate(name: str, seconds: float, lengths: Sequence[int], peaks: dict[str, float], memory: int) -> Rate:
    kind = next((kind for kind in peaks if kind in name), "fp32")
    passes = 3 if "three passes" in name else 1
    share = passes * flops_per_token(lengths) * sum(lengths) / seconds / peaks[kind]
    return Rate(seconds, len(lengths) / seconds, sum(lengths) / seconds, share, memory)


def _agreement(vectors: dict[str, npt.NDArray[np.float32]]) -> dict[str, float]:
    truth = vectors["ours fp32"]
    ours = [name for name in vectors if name.startswith("ours") and "passes" not in name]
    return {name: float((vectors[name] * truth).sum(1).min()) for name in ours}


def _lines(path: Path) -> list[str]:
    if ".jsonl" in path.name:
        return [str(row.get("text", "")) for _, row in read_rows(path)]
    with open_text(path) as lines:
        return list(lines)


def _resident_bytes() -> int:
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    line = next(line for line in status.read_text("utf-8").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


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
