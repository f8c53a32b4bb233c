import pytest
import torch
from torch.nn.functional import gelu, linear

from workers.forward.onednn import OneDnnLinear, is_offered
from workers.forward.trunk import added, curved

pytestmark = pytest.mark.skipif(not is_offered(), reason="oneDNN has bfloat16 from AVX-512 on")


def test_all_three_uses_are_near_float32() -> None:
    draw = torch.Generator().manual_seed(5)
    rows, to = torch.randn((48, 96), generator=draw), torch.randn((48, 64), generator=draw)
    weight, bias = torch.randn((64, 96), generator=draw) / 10, torch.randn(64, generator=draw)
    layer, given, onto = OneDnnLinear(weight, bias), rows.bfloat16(), to.bfloat16()
    exact = linear(given.float(), weight.bfloat16().float(), bias.bfloat16().float())
    torch.testing.assert_close(layer(given).float(), exact, atol=0.02, rtol=0.01)
    torch.testing.assert_close(curved(layer, given).float(), gelu(exact), atol=0.02, rtol=0.01)
    torch.testing.assert_close(added(layer, given, onto).float(), onto.float() + exact, atol=0.04, rtol=0.01)
