"""The encoder on a GPU: packed rows without padding, one CUDA graph for each of a few shapes, copies that nobody waits for.

Every bin has the same number of rows, so that a text's answer does not depend on its batch; shapes differ only in how many
texts a bin holds and how long the longest one is. A graph replays some hundred kernels as one launch, which for short
texts is most of the time. While the device works on one bin, the host lays out the next one in pinned memory.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from workers.heads import SentimentHead
from workers.packing import Bin, Index
from workers.trunk import Trunk

LONGEST: Final = (32, 64, 128, 256, 512)
_SHARES: Final = (64, 16, 4, 1)  # tokens a text that the numbers of texts are made for
_WARM_UPS: Final = 3


class Shape(NamedTuple):
    """What a graph is recorded for: rows of a bin, at most so many texts, the longest of at most so many tokens."""

    rows: int
    texts: int
    longest: int


@dataclass(frozen=True, slots=True)
class Layout:
    """A bin in a shape. ids, positions, owner: (rows,); starts: (texts + 1,), ends repeated; members: places in the batch."""

    ids: Index
    positions: Index
    owner: Index
    starts: Index
    members: Index


PackedAttend = Callable[[Tensor, Tensor, int, int], Tensor]
"""From (rows, 3 * hidden), starts, the longest text and the number of heads to (rows, hidden)."""


class Compute(Protocol):
    """The device's part of a bin: the tensors of a layout to the mean and the head's own average of each text."""

    def __call__(self, ids: Tensor, positions: Tensor, owner: Tensor, starts: Tensor) -> Tensor:
        """Return (texts, 2 * hidden)."""


def shapes(rows: int, max_tokens: int) -> list[Shape]:
    """Return all shapes that graphs may be recorded for, the smallest first."""
    lengths = sorted({min(longest, max_tokens) for longest in LONGEST})
    return [Shape(rows, max(1, rows // share), longest) for longest in lengths for share in _SHARES]


def exact_shape(packed: Bin) -> Shape:
    """Return the shape of a bin's own tokens and texts, with nothing to spare."""
    return Shape(packed.tokens, *_texts_and_longest(packed))


def shape_for(packed: Bin, known: Sequence[Shape]) -> Shape:
    """Return the smallest known shape that holds a bin. Raises ValueError where none does."""
    texts, longest = _texts_and_longest(packed)
    for shape in known:
        if shape.rows >= packed.tokens and shape.texts >= texts and shape.longest >= longest:
            return shape
    raise ValueError(f"no shape holds {packed.tokens} tokens in {texts} texts, the longest of {longest}")


def _texts_and_longest(packed: Bin) -> tuple[int, int]:
    texts = sum(len(group.members) for group in packed.groups)
    return texts, max(int(group.present.sum(1).max()) for group in packed.groups)


def lay_out(packed: Bin, shape: Shape) -> Layout:
    """Return a bin in a shape; the rows after its tokens and the texts after its own are empty."""
    begins = np.concatenate([group.rows[:, 0] for group in packed.groups])
    order = np.argsort(begins)
    members = np.concatenate([group.members for group in packed.groups])[order]
    starts = np.full(shape.texts + 1, packed.tokens, np.int64)
    starts[: len(order)] = begins[order]
    ids, positions = np.zeros(shape.rows, np.int64), np.zeros(shape.rows, np.int64)
    ids[: packed.tokens] = packed.ids[: packed.tokens]
    positions[: packed.tokens] = packed.positions[: packed.tokens]
    owner = np.zeros(shape.rows, np.int64)
    owner[: packed.tokens] = np.repeat(np.arange(shape.texts), np.diff(starts))
    return Layout(ids, positions, owner, starts, members)


def attend_packed(query_key_value: Tensor, starts: Tensor, longest: int, heads: int) -> Tensor:
    """Let every text attend to itself, with no padding (torch's variable-length kernel; CUDA, half precision)."""
    from torch.nn.attention.varlen import varlen_attn

    rows = query_key_value.shape[0]
    query, key, value = query_key_value.view(rows, 3, heads, -1).unbind(1)
    ends = starts.to(torch.int32)
    # Later versions may split a text's keys by how many texts there are; torch 2.11 cannot, and does not know the word.
    whole: dict[str, Any] = {"num_splits": 1} if "num_splits" in inspect.signature(varlen_attn).parameters else {}
    mixed = varlen_attn(query.contiguous(), key.contiguous(), value.contiguous(), ends, ends, longest, longest, **whole)
    assert isinstance(mixed, Tensor)
    return mixed.reshape(rows, -1)


def compute_for(trunk: Trunk, head: SentimentHead, shape: Shape, attend: PackedAttend) -> Compute:
    """Return what a graph of this shape records."""

    def compute(ids: Tensor, positions: Tensor, owner: Tensor, starts: Tensor) -> Tensor:
        rows = trunk.norm(trunk.words[ids] + trunk.positions[positions])
        for layer in trunk.layers:
            rows = layer(rows, lambda query_key_value, heads: attend(query_key_value, starts, shape.longest, heads))
        return pool(rows.float(), owner, starts, head.query)

    return compute


def pool(rows: Tensor, owner: Tensor, starts: Tensor, query: Tensor) -> Tensor:
    """Return the mean of each text's rows and their average weighted by the match with ``query``, (texts, 2 * hidden).

    Sums go text by text in the order of the rows, so that they do not depend on the neighbours.
    """
    match = (rows * query).sum(1)
    highest = _by_text("max", match, starts).detach()  # cancels out; keeps exp in range
    weight = torch.exp(match - highest[owner])
    total = _by_text("sum", weight, starts)
    own = _by_text("sum", weight[:, None] * rows, starts) / total[:, None]
    lengths = (starts[1:] - starts[:-1]).to(rows.dtype)
    return torch.cat([_by_text("sum", rows, starts) / lengths[:, None], own], dim=1)


def _by_text(how: str, rows: Tensor, starts: Tensor) -> Tensor:
    return torch.segment_reduce(rows, how, offsets=starts, axis=0, unsafe=True, initial=None if how == "max" else 0)


class Recorded:
    """A CUDA graph of one shape with the memory that it reads and writes."""

    def __init__(self, compute: Compute, shape: Shape, device: torch.device) -> None:
        sizes = (shape.rows, shape.rows, shape.rows, shape.texts + 1)
        self._inputs = [torch.zeros(size, dtype=torch.int64, device=device) for size in sizes]
        self._pinned = [torch.zeros(size, dtype=torch.int64, pin_memory=True) for size in sizes]
        self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                compute(*self._inputs)
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = compute(*self._inputs)

    def __call__(self, layout: Layout) -> Tensor:
        """Return (texts, 2 * hidden) on the device; the next call overwrites it, in the order of the stream."""
        self._copied.synchronize()  # the last copy out of the pinned memory has ended
        arrays = (layout.ids, layout.positions, layout.owner, layout.starts)
        for pinned, target, array in zip(self._pinned, self._inputs, arrays, strict=True):
            pinned.copy_(torch.from_numpy(array))
            target.copy_(pinned, non_blocking=True)
        self._copied.record()
        self._graph.replay()
        return self._output


class Eager:
    """The same without a graph, wherever there is none: for tests, and to compare with."""

    def __init__(self, compute: Compute, device: torch.device) -> None:
        self._compute = compute
        self._device = device

    def __call__(self, layout: Layout) -> Tensor:
        """Return (texts, 2 * hidden)."""
        arrays = (layout.ids, layout.positions, layout.owner, layout.starts)
        return self._compute(*(torch.from_numpy(array).to(self._device) for array in arrays))


class PackedTrunk:
    """Bins to pooled texts, by one recorded graph per shape, each recorded when it is first needed."""

    def __init__(self, trunk: Trunk, head: SentimentHead, known: Sequence[Shape], attend: PackedAttend = attend_packed) -> None:
        self._trunk = trunk
        self._head = head
        self._known = known
        self._attend = attend
        self._runners: dict[Shape, Recorded | Eager] = {}

    def __call__(self, bins: Sequence[Bin], texts: int) -> tuple[Tensor, Tensor]:
        """Return means (texts, hidden) and features (texts, 2 * hidden), on the device; nothing waits for it."""
        width = self._trunk.words.shape[1]
        features = torch.empty((texts, 2 * width), device=self._trunk.device)
        for packed in bins:
            shape = shape_for(packed, self._known)
            layout = lay_out(packed, shape)
            members = torch.from_numpy(layout.members).to(features.device, non_blocking=True)
            features[members] = self._runner(shape)(layout)[: len(layout.members)]
        return features[:, :width], features

    def prepared(self, bins: Sequence[Bin]) -> Callable[[], None]:
        """Return a call that computes bins laid out beforehand and drops what comes out."""
        known = [shape_for(packed, self._known) for packed in bins]
        ready = [(self._runner(shape), lay_out(packed, shape)) for packed, shape in zip(bins, known, strict=True)]

        def run() -> None:
            with torch.inference_mode():
                for runner, layout in ready:
                    runner(layout)

        return run

    def _runner(self, shape: Shape) -> "Recorded | Eager":
        if shape not in self._runners:
            compute, device = compute_for(self._trunk, self._head, shape, self._attend), self._trunk.device
            self._runners[shape] = Recorded(compute, shape, device) if device.type == "cuda" else Eager(compute, device)
        return self._runners[shape]


def to_host(parts: Sequence[Tensor]) -> list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Return tensors of a device as arrays: all copies go at once into pinned memory, and one wait is for all of them."""
    pinned = [torch.empty(part.shape, dtype=torch.float32, pin_memory=part.device.type == "cuda") for part in parts]
    for target, part in zip(pinned, parts, strict=True):
        target.copy_(part, non_blocking=True)
    if any(part.device.type == "cuda" for part in parts):
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record()
        done.synchronize()
    return [target.numpy() for target in pinned]
