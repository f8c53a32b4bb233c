"""8-bit layers: near the float layer, blind to the batch, and never over the edge of 16 bits."""

import pytest
import torch
from torch import Tensor

from workers.quantise import LEVELS_WITHOUT_VNNI, Int8Linear, int8_linear


def example(rows: int = 48, inputs: int = 96, outputs: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(5)
    shifted = torch.randn((rows, inputs), generator=draw) * torch.rand((rows, 1), generator=draw) + 0.3
    return shifted, torch.randn((outputs, inputs), generator=draw), torch.randn(outputs, generator=draw)


def test_the_answer_is_near_the_float_layer() -> None:
    rows, weight, bias = example()
    exact = torch.nn.functional.linear(rows, weight, bias)
    near = int8_linear()("layer", weight, bias)(rows)
    assert torch.nn.functional.cosine_similarity(near, exact, dim=1).min() > 0.999


@pytest.mark.parametrize("count", [1, 7, 16, 33])
def test_a_row_gets_the_same_bits_in_any_batch(count: int) -> None:
    rows, weight, bias = example()
    layer = int8_linear()("layer", weight, bias)
    whole = layer(rows)
    assert torch.equal(layer(rows[:count]), whole[:count])
    assert torch.equal(layer(rows[-count:]), whole[-count:])


def test_the_largest_products_do_not_overflow() -> None:
    rows = torch.ones((16, 64))
    rows[:, -1] = -1.0
    layer = Int8Linear(torch.ones((32, 64)), torch.zeros(32), LEVELS_WITHOUT_VNNI)
    torch.testing.assert_close(layer(rows), torch.full((16, 32), 62.0), rtol=0.001, atol=0.0)


def test_a_constant_row_is_its_middle() -> None:
    rows, weight, bias = example()
    rows[3] = 0.25
    expected = 0.25 * weight.sum(1) + bias
    torch.testing.assert_close(int8_linear()("layer", weight, bias)(rows)[3], expected, rtol=0.02, atol=0.1)
