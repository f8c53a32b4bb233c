import pytest
import torch
from torch import Tensor

from workers.steady import FullRows, is_steady, steady_linear
from workers.trunk import float_linear


def restless(rows: Tensor) -> Tensor:
    """Add up in another order when there are fewer than 40 rows."""
    halves = rows[:, :16].sum(1, keepdim=True), rows[:, 16:].sum(1, keepdim=True)
    return halves[0] + halves[1] if len(rows) < 40 else rows.flip(1).cumsum(1)[:, -1:]


def test_a_layer_that_depends_on_the_number_of_rows_is_found_and_mended() -> None:
    assert not is_steady(restless, 32, 64, torch.float32)
    assert is_steady(FullRows(restless, 64), 32, 64, torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("inputs", "outputs"), [(384, 1152), (384, 384), (1536, 384)])
def test_layers_of_the_encoders_shapes_are_steady(dtype: torch.dtype, inputs: int, outputs: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    weight, bias = torch.randn(outputs, inputs), torch.randn(outputs)
    layer = steady_linear(float_linear(dtype), 512, dtype)("any", weight, bias)
    assert is_steady(layer, inputs, 512, dtype)
    rows = torch.randn(48, inputs).to(dtype)
    torch.testing.assert_close(layer(rows), rows @ weight.to(dtype).T + bias.to(dtype), atol=0.5, rtol=0.02)
    torch.set_num_threads(threads)
