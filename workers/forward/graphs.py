"""The encoder on a GPU: packed rows without padding, one CUDA graph for each of a few shapes, copies that nobody waits for.

A bin has as many rows as the smallest of a few sizes that holds it; shapes differ besides in how many texts a bin holds and how
long the longest one is. Layers are steady in the number of rows, so that a text's answer does not depend on its batch. A graph
replays some hundred kernels as one launch, which for short texts is most of the time. Training lays its bins out on the host
(``lay_out``), serving on the device (``workers.forward.sending``).
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from workers.encoder import DIMENSIONS
from workers.forward.heads import SentimentHead
from workers.forward.packing import Bin, Index
from workers.forward.sending import Sent, Sorted, sort
from workers.forward.trunk import Trunk

LONGEST: Final = (32, 64, 128, 256, 512)
_SHARES: Final = (64, 32, 16, 8, 4, 1)  # tokens a text that the numbers of texts are made for
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
    """The device's part of a bin: what a shape holds, all int32, to the mean and the head's own average of each text."""

    def __call__(self, ids: Tensor, positions: Tensor, starts: Tensor) -> Tensor:
        """Return (texts, 2 * hidden) for ids and positions (rows,) and starts (texts + 1,), whose ends are repeated."""


Plan = Callable[[Shape], Compute]
"""Says what computes the bins of a shape."""


def shapes(rows: Sequence[int], max_tokens: int) -> list[Shape]:
    """Return all shapes that graphs may be recorded for, the smallest first."""
    lengths = sorted({min(longest, max_tokens) for longest in LONGEST})
    return [Shape(own, max(1, own // share), longest) for own in sorted(rows) for longest in lengths for share in _SHARES]


def exact_shape(packed: Bin) -> Shape:
    """Return the shape of a bin's own tokens and texts, with nothing to spare."""
    texts = sum(len(group.members) for group in packed.groups)
    return Shape(packed.tokens, texts, max(int(group.present.sum(1).max()) for group in packed.groups))


def shape_for(wanted: Shape, known: Sequence[Shape]) -> Shape:
    """Return the first known shape that holds what is wanted. Raises ValueError where none does."""
    for shape in known:
        if all(has >= needed for has, needed in zip(shape, wanted, strict=True)):
            return shape
    raise ValueError(f"no shape holds {wanted.rows} tokens in {wanted.texts} texts, the longest of {wanted.longest}")


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


def plain_plan(trunk: Trunk, head: SentimentHead, attend: PackedAttend = attend_packed) -> Plan:
    """Return the plan of the plain layers, whose attention alone is one kernel for all texts."""

    def plan(shape: Shape) -> Compute:
        def compute(ids: Tensor, positions: Tensor, starts: Tensor) -> Tensor:
            rows = trunk.norm(trunk.words[ids.long()] + trunk.positions[positions.long()])
            for layer in trunk.layers:
                rows = layer(rows, lambda query_key_value, heads: attend(query_key_value, starts, shape.longest, heads))
            each = torch.arange(len(ids), dtype=torch.int32, device=ids.device)
            owner = (torch.searchsorted(starts, each, right=True) - 1).clamp(max=len(starts) - 2)
            return pool(rows.float(), owner, starts.long(), head.query)

        return compute

    return plan


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


Pool = Any  # torch's type of it is private
"""The memory of graphs: all of them share it, for nobody needs what one has computed once another one runs."""


class Eager:
    """Computes a shape at once, from memory of its own; for tests, and where graphs cannot be recorded."""

    def __init__(self, compute: Compute, shape: Shape, device: torch.device) -> None:
        self._compute = compute
        self._ids, self._positions, self._starts = self.inputs = [
            torch.zeros(size, dtype=torch.int32, device=device) for size in (shape.rows, shape.rows, shape.texts + 1)
        ]

    def __call__(self, batch: Sorted, texts: slice, rows: slice) -> Tensor:
        """Return (texts, 2 * hidden) of some texts of a batch and their rows; the next call may overwrite it."""
        tokens, count = rows.stop - rows.start, texts.stop - texts.start
        self._ids[:tokens] = batch.ids[rows]
        self._positions[:tokens] = batch.positions[rows]
        torch.sub(batch.starts[texts], rows.start, out=self._starts[:count])
        self._starts[count:] = tokens
        return self.computed()[:count]

    def computed(self) -> Tensor:
        """Return the answer to what the memory holds."""
        return self._compute(*self.inputs)


class Recorded(Eager):
    """A CUDA graph of one shape with the memory that it reads and writes."""

    def __init__(self, compute: Compute, shape: Shape, device: torch.device, pool: Pool) -> None:
        super().__init__(compute, shape, device)
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                compute(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._output = compute(*self.inputs)

    def computed(self) -> Tensor:
        """Return the answer to what the memory holds, in the order of the stream."""
        self._graph.replay()
        return self._output


class PackedTrunk:
    """Batches to pooled texts, by one recorded graph per shape, each recorded when it is first needed."""

    def __init__(self, plan: Plan, device: torch.device, known: Sequence[Shape]) -> None:
        self._plan = plan
        self._device = device
        self._known = known
        self._runners: dict[Shape, Eager] = {}
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    @property
    def rows(self) -> int:
        """Return how many rows the largest bin has."""
        return self._known[-1].rows

    def __call__(self, sent: Sent) -> Tensor:
        """Return features (texts, 2 * hidden) in the order of the batch, on the device; nothing waits for it."""
        batch, features = sort(sent), torch.empty((len(sent.order), 2 * DIMENSIONS), device=self._device)
        for runner, texts, rows in self._runs(sent):
            features[texts] = runner(batch, texts, rows)
        return torch.empty_like(features).index_copy_(0, sent.order.long(), features)

    def prepared(self, sent: Sent) -> Callable[[], None]:
        """Return a call that computes a batch laid out beforehand and drops what comes out."""
        batch, runs = sort(sent), list(self._runs(sent))

        def run() -> None:
            with torch.inference_mode():
                for runner, texts, rows in runs:
                    runner(batch, texts, rows)

        return run

    def _runs(self, sent: Sent) -> Iterator[tuple[Eager, slice, slice]]:
        """Yield what computes each bin, its texts and its rows in the order of length."""
        for first, last in sent.bins(self.rows):
            rows = slice(int(sent.ends[first] - sent.lengths[first]), int(sent.ends[last - 1]))
            wanted = Shape(rows.stop - rows.start, last - first, int(sent.lengths[first]))
            yield self._runner(shape_for(wanted, self._known)), slice(first, last), rows

    def _runner(self, shape: Shape) -> Eager:
        if shape not in self._runners:
            compute, device = self._plan(shape), self._device
            graph = device.type == "cuda"
            self._runners[shape] = Recorded(compute, shape, device, self._pool) if graph else Eager(compute, shape, device)
        return self._runners[shape]


Arrays = list[np.ndarray[tuple[int, ...], np.dtype[np.float32]]]


def to_host(parts: Sequence[Tensor]) -> Callable[[], Arrays]:
    """Begin to copy tensors of a device into pinned memory, all at once; return a call that waits and gives the arrays."""
    pinned = [torch.empty(part.shape, dtype=torch.float32, pin_memory=part.device.type == "cuda") for part in parts]
    for target, part in zip(pinned, parts, strict=True):
        target.copy_(part, non_blocking=True)
    done = torch.cuda.Event() if any(part.device.type == "cuda" for part in parts) else None  # type: ignore[no-untyped-call]
    if done is not None:
        done.record()

    def arrays() -> Arrays:
        if done is not None:
            done.synchronize()
        return [target.numpy() for target in pinned]

    return arrays
