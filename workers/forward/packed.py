"""Which packed trunks a device may have."""

from collections.abc import Iterator
from importlib.util import find_spec

import torch

from workers.forward.graphs import PackedTrunk, plain_plan, shapes
from workers.forward.heads import SentimentHead
from workers.forward.packing import filled_rows
from workers.forward.trunk import Trunk


def packed_trunks(trunk: Trunk, head: SentimentHead, rows: int, longest: int) -> Iterator[PackedTrunk]:
    """Yield the trunk by recorded graphs where its kernels are, in half precision on a GPU; the fastest first.

    Whether a device can run them is for the caller to try. longest: tokens of the longest text.
    """
    if trunk.device.type != "cuda" or trunk.words.dtype != torch.bfloat16:
        return
    if find_spec("triton") is not None:
        from workers.forward import fused

        yield PackedTrunk(fused.plan(trunk, head), trunk.device, shapes(fused.sizes(trunk.device), longest))
    yield PackedTrunk(plain_plan(trunk, head), trunk.device, shapes([filled_rows(rows)], longest))
