import pytest
import torch

from pipeline.errors import ModelError
from workers.lora import LowRankLinear, merging
from workers.quantise import Int8Linear
from workers.trunk import float_linear


def test_a_merged_adapter_computes_what_training_computed() -> None:
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(6, 5), torch.randn(6), torch.randn(7, 5)
    layer = LowRankLinear(weight, bias, rank=2, scale=3.0, dtype=torch.float32)
    torch.testing.assert_close(layer(rows), rows @ weight.T + bias)
    layer.up.data.normal_()
    adapter = {f"some.{name}": value for name, value in layer.merged().items()}
    merged = merging(adapter, float_linear(torch.float32))("some", weight, bias)
    torch.testing.assert_close(merged(rows), layer(rows))


def test_a_layer_without_adapter_stays_as_it_was() -> None:
    weight, bias, rows = torch.randn(6, 5), torch.randn(6), torch.randn(7, 5)
    layer = merging({}, float_linear(torch.float32))("some", weight, bias)
    torch.testing.assert_close(layer(rows), rows @ weight.T + bias)


def test_factors_of_another_shape_are_refused_by_name() -> None:
    adapter = {"some.down": torch.zeros(2, 5), "some.up": torch.zeros(7, 2)}
    with pytest.raises(ModelError, match="some"):
        merging(adapter, float_linear(torch.float32))("some", torch.zeros(6, 5), torch.zeros(6))


def test_eight_bits_stay_close_and_never_depend_on_the_other_rows() -> None:
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(48, 64), torch.randn(48), torch.randn(40, 64)
    layer = Int8Linear(weight, bias)
    exact = rows @ weight.T + bias
    assert float(torch.nn.functional.cosine_similarity(layer(rows), exact).min()) > 0.999
    for size in (16, 32, 40):
        assert torch.equal(layer(rows[:size]), layer(rows)[:size])
