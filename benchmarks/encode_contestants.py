"""Who takes part in the comparison of encoders on a device, and what each adds to the process's memory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import encode_peers
from benchmarks.encode_peers import BATCH, Contestant
from pipeline.settings import Settings
from workers.evaluation import measure
from workers.model import model_store
from workers.model.transformer import Mode, TransformerEncoder, find_device, load_encoder, offered_modes

DEFAULT = "sentence-transformers fp32"
Makers = dict[str, Callable[[], Contestant]]
GPU_BATCH = 512  # texts at once: what sentence-transformers is fastest with
GPU_ROWS = 16_384  # tokens of a call of our trunk
ONE_BY_ONE = "transformers one by one"
FEW = 300  # texts for whoever takes them one by one, where all would take minutes


@dataclass(slots=True)
class Field:
    """The contestants by name, the bytes that each took, and our encoder in its fastest mode.

    Whoever takes texts one by one on a GPU gets the first few of them: its rate is the same, its time is not minutes.
    """

    encoder: TransformerEncoder
    run: dict[str, Contestant] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)

    def share(self, name: str, of: Sequence[Any]) -> Sequence[Any]:
        """Return what a contestant gets of all texts, or of what stands for each of them."""
        return of[:FEW] if name == ONE_BY_ONE and self.encoder.device.type == "cuda" else of

    def enter(self, name: str, make: Callable[[], Contestant]) -> None:
        """Make one contestant, let it warm up, and note what it took."""
        before = resident_bytes()
        self.run[name] = make()
        self.run[name](["warm up"])
        self.memory[name] = max(0, resident_bytes() - before)


def gather(settings: Settings, device: str, tell: Callable[[str], None]) -> Field:
    """Return our modes that make sense on the device, our fastest run three times, and the peers."""
    chosen = find_device(device, "--device")
    rows = {"batch_tokens": GPU_ROWS} if chosen.type == "cuda" else {}
    own = settings.encoder.model_copy(update={"device": str(chosen), **rows})
    modes = offered_modes(chosen)
    encoders: dict[Mode, TransformerEncoder] = {}
    found: Field | None = None
    for mode in modes:
        before = resident_bytes()
        encoders[mode] = load_encoder(own, settings.cache, mode)
        taken = resident_bytes() - before
        found = found or Field(encoders[mode])
        found.enter(f"ours {mode}", lambda encoder=encoders[mode]: ours(encoder, 1))  # type: ignore[misc]
        found.memory[f"ours {mode}"] += max(0, taken)
    assert found is not None
    three = f"ours {modes[0]}, three passes"
    found.enter(three, lambda: ours(encoders[modes[0]], 3))
    found.memory[three] = 3 * found.memory[f"ours {modes[0]}"]
    for name, make in peers(settings, chosen.type).items():
        found.enter(name, make)
        tell(f"{name}: ready")
    return found


def peers(settings: Settings, device: str) -> Makers:
    """Return how to make each peer; on a CPU those with other number formats only where the processor computes in them."""
    folder = encode_peers.plain_folder(model_store.verified(settings.encoder.model, settings.cache)[0], settings.cache)
    limit, cache = settings.encoder.max_tokens, settings.cache
    batch = GPU_BATCH if device == "cuda" else 2 * BATCH
    makers: Makers = {
        DEFAULT: lambda: encode_peers.sentence_transformers_default(folder, limit, device),
        ONE_BY_ONE: lambda: encode_peers.transformers_one_by_one(folder, limit, device),
    }
    if computes_bf16(device):
        makers["sentence-transformers bf16"] = lambda: encode_peers.sentence_transformers_bf16(folder, limit, device, batch)
    if device == "cpu":
        small = encode_peers.onnxruntime_model
        makers |= {
            "ONNX Runtime fp32": lambda: small(folder, limit, cache, int8=False),
            "ONNX Runtime int8": lambda: small(folder, limit, cache, int8=True),
            "sentence-transformers' order, ONNX int8": lambda: encode_peers.in_order_of_length(
                small(folder, limit, cache, int8=True)
            ),
            "sentence-transformers' order, OpenVINO": lambda: encode_peers.in_order_of_length(
                encode_peers.openvino_model(folder, limit, cache)
            ),
        }
    return makers


def computes_bf16(device: str) -> bool:
    """Return whether bf16 is no emulation there."""
    return device == "cuda" or torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def ours(encoder: TransformerEncoder, passes: int) -> Contestant:
    """Return our encoder as a contestant; all three answers come with every pass."""

    def run(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        for _ in range(passes):
            vectors = measure.answer(encoder, texts, lambda _: None).answers.vectors
        return vectors

    return run


def resident_bytes() -> int:
    """Return the memory of this process, 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    line = next(line for line in status.read_text("utf-8").splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
