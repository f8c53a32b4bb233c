import pytest
import torch

from pipeline.errors import ModelError
from workers.forward.lora import LowRankLinear, merging
from workers.forward.trunk import float_linear


def test_a_merged_adapter_computes_what_training_computed() -> None:
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(6, 5), torch.randn(6), torch.randn(7, 5)
    layer = LowRankLinear(weight, bias, rank=2, scale=3.0)
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


def test_a_whole_layer_without_its_bias_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="some: lacks its bias"):
        merging({"some.weight": torch.zeros(6, 5)}, float_linear(torch.float32))("some", torch.zeros(6, 5), torch.zeros(6))
