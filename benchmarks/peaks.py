"""What a machine computes at most in a number format, by its own measure: a large matrix product on one thread or a GPU."""

import time
from collections.abc import Callable

import torch

from workers.forward.passes import ZERO
from workers.forward.quantise import Int8Linear

TRIALS = 12


def peaks(device: str) -> dict[str, float]:
    """Return operations a second by number format."""
    kinds = ("fp32", "bf16") if device == "cuda" else ("fp32", "bf16", "int8")
    return {kind: peak(kind, device) for kind in kinds}


def peak(kind: str, device: str = "cpu") -> float:
    """Return the operations a second of a square matrix product; the fastest of some trials counts."""
    size = 8192 if device == "cuda" else 1024
    product = _int8_product(size) if kind == "int8" else _float_product(size, kind, device)
    times = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        product()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times)


def _float_product(size: int, kind: str, device: str) -> Callable[[], object]:
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32
    left, right = torch.randn(size, size, dtype=dtype, device=device), torch.randn(size, size, dtype=dtype, device=device)
    return lambda: torch.matmul(left, right)


def _int8_product(size: int) -> Callable[[], object]:
    layer = Int8Linear(torch.randn(size, size), torch.zeros(size), torch.ones(size), wide=False)
    rows = torch.full((size, size), ZERO, dtype=torch.uint8)
    return lambda: layer.products(rows)
