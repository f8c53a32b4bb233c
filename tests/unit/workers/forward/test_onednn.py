import pytest
import torch
from torch.nn.functional import gelu, layer_norm, linear

from workers.forward.onednn import OneDnnLinear, is_offered
from workers.forward.trunk import Norm, curved, normed

pytestmark = pytest.mark.skipif(not is_offered(), reason="oneDNN has bfloat16 from AVX-512 on")


def test_all_three_uses_are_near_float32() -> None:
    draw = torch.Generator().manual_seed(5)
    rows, to = torch.randn((48, 96), generator=draw), torch.randn((48, 64), generator=draw)
    weight, bias = torch.randn((64, 96), generator=draw) / 10, torch.randn(64, generator=draw)
    layer, given, onto = OneDnnLinear(weight, bias), rows.bfloat16(), to.bfloat16()
    exact = linear(given.float(), weight.bfloat16().float(), bias.bfloat16().float())
    torch.testing.assert_close(layer(given).float(), exact, atol=0.02, rtol=0.01)
    torch.testing.assert_close(curved(layer, given).float(), gelu(exact), atol=0.02, rtol=0.01)
    norm = Norm(torch.full((64,), 2.0).bfloat16(), torch.ones(64).bfloat16(), 1e-12)
    wanted = layer_norm(onto.float() + exact, (64,), norm.weight.float(), norm.bias.float(), norm.epsilon)
    torch.testing.assert_close(normed(layer, given, onto, norm).float(), wanted, atol=0.04, rtol=0.01)
