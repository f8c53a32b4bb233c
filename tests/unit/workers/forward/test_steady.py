import pytest
import torch
from torch import Tensor

from workers.forward.onednn import is_offered, onednn_linear
from workers.forward.packing import row_counts
from workers.forward.steady import FilledRows, steady_counts, steady_linear
from workers.forward.trunk import LinearFactory, Norm, curved, float_linear, normed

BFLOAT16 = pytest.param(torch.bfloat16, onednn_linear, marks=pytest.mark.skipif(not is_offered(), reason="needs AVX-512"))


def restless(rows: Tensor) -> Tensor:
    """Add up in another order when there are between 20 and 40 rows."""
    halves = rows[:, :16].sum(1, keepdim=True), rows[:, 16:].sum(1, keepdim=True)
    return halves[0] + halves[1] if 20 < len(rows) < 40 else rows.flip(1).cumsum(1)[:, -1:]


def test_numbers_of_rows_that_change_a_layers_bits_are_found_and_filled_up() -> None:
    counts = row_counts(64)
    steady = steady_counts(restless, 32, counts, torch.float32)
    assert counts == [16, 32, 48, 64]
    assert steady == [16, 48, 64]
    assert steady_counts(FilledRows(restless, steady), 32, counts, torch.float32) == counts


def test_filling_changes_neither_gelu_nor_the_norm_of_what_is_added() -> None:
    rows, to, norm = torch.randn(30, 32), torch.randn(30, 4), Norm(torch.rand(4), torch.rand(4), 1e-12)
    filled = FilledRows(restless, [16, 48, 64])
    whole = restless(torch.cat([rows, torch.zeros(18, 32)]))[:30]
    assert torch.equal(filled(rows), whole)
    assert torch.equal(normed(filled, rows, to, norm), norm(to + whole))
    assert torch.equal(curved(filled, rows), torch.nn.functional.gelu(whole))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "factory"),
    [(torch.float32, float_linear(torch.float32)), (torch.bfloat16, float_linear(torch.bfloat16)), BFLOAT16],
)
@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [("query_key_value", 384, 1152), ("output.dense", 384, 384), ("intermediate.dense", 384, 1536), ("output.dense", 1536, 384)],
)
def test_layers_of_the_encoders_shapes_are_steady(
    dtype: torch.dtype, factory: LinearFactory, name: str, inputs: int, outputs: int
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    counts = row_counts(1024)
    weight, bias = torch.randn(outputs, inputs), torch.randn(outputs)
    layer = steady_linear(factory, 1024, dtype)(name, weight, bias)
    norm = Norm(torch.ones(outputs, dtype=dtype), torch.zeros(outputs, dtype=dtype), 1e-12)
    use = {"query_key_value": layer, "intermediate.dense": lambda rows: curved(layer, rows)}.get(
        name, lambda rows: normed(layer, rows, rows.new_ones((len(rows), outputs)), norm)
    )
    assert steady_counts(use, inputs, counts, dtype) == counts
    rows = torch.randn(48, inputs).to(dtype)
    torch.testing.assert_close(layer(rows), rows @ weight.to(dtype).T + bias.to(dtype), atol=0.5, rtol=0.02)
    torch.set_num_threads(threads)
