"""8-bit layers: near the float layer, blind to the batch, and never over the edge of 16 bits."""

import pytest
import torch
from torch import Tensor

from pipeline.errors import ModelError
from tests.unit.workers.tiny_model import HEADS, LAYERS, tiny_weights
from workers.forward import passes
from workers.forward.packing import pack, row_counts
from workers.forward.passes import LEVELS, ZERO
from workers.forward.quantise import Int8Linear, adds_wide, int8_linear, largest_pair, typical_inputs
from workers.forward.steady import steady_counts
from workers.forward.trunk import LinearFactory, Norm, RowMap, Sizes, Trunk, build, curved, float_linear, normed


def example(rows: int = 48, inputs: int = 96, outputs: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(5)
    shifted = torch.randn((rows, inputs), generator=draw) * torch.rand((rows, 1), generator=draw) + 0.3
    return shifted, torch.randn((outputs, inputs), generator=draw), torch.randn(outputs, generator=draw)


def layer_of(rows: Tensor, weight: Tensor, bias: Tensor) -> RowMap:
    return int8_linear({"layer": rows.square().mean(0).sqrt()})("layer", weight, bias)


def tiny_trunk(linear: LinearFactory) -> Trunk:
    return build(tiny_weights(), Sizes(HEADS, LAYERS, 1e-12), linear, torch.float32)


def test_the_answer_is_near_the_float_layer() -> None:
    rows, weight, bias = example()
    exact = torch.nn.functional.linear(rows, weight, bias)
    near = layer_of(rows, weight, bias)(rows)
    assert torch.nn.functional.cosine_similarity(near, exact, dim=1).min() > 0.999


def test_all_three_uses_are_near_the_float_layer() -> None:
    rows, weight, bias = example()
    to, exact, layer = rows[:, :64].contiguous(), torch.nn.functional.linear(rows, weight, bias), layer_of(rows, weight, bias)
    assert torch.nn.functional.cosine_similarity(curved(layer, rows), torch.nn.functional.gelu(exact), dim=1).min() > 0.999
    norm = Norm(torch.rand(64), torch.rand(64), 1e-12)
    added = layer(rows) + to
    torch.testing.assert_close(normed(layer, rows, to, norm), norm(added))
    passes.norm(added.numpy(), norm.weight.numpy(), norm.bias.numpy(), norm.epsilon)
    assert torch.equal(normed(layer, rows, to, norm), added)


@pytest.mark.parametrize("count", [1, 7, 16, 33])
def test_a_row_gets_the_same_bits_in_any_batch_of_the_encoders_layers(count: int) -> None:
    rows, weight, bias = example(inputs=384, outputs=384)
    layer = layer_of(rows, weight, bias)
    whole = layer(rows)
    assert torch.equal(layer(rows[:count]), whole[:count])
    assert torch.equal(layer(rows[-count:]), whole[-count:])


def test_a_row_of_a_small_layer_gets_the_same_bits_in_bins_of_any_size() -> None:
    rows, weight, bias = example()
    counts = row_counts(len(rows))
    assert steady_counts(layer_of(rows, weight, bias), rows.shape[1], counts, torch.float32) == counts == [16, 32, 48]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("wide", sorted({False, adds_wide()}))
def test_the_largest_products_do_not_overflow(seed: int, wide: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn((64, 96), generator=draw) * torch.rand((64, 1), generator=draw)
    layer = Int8Linear(weight, torch.zeros(64), torch.ones(96), wide=wide)
    whole = (weight / layer.evened / layer.scale[:, None]).round()
    levels = torch.cat([whole > 0, whole < 0]).to(torch.uint8) * 255  # all that can add up does
    exact = (levels.double() - ZERO) @ whole.T.double() / LEVELS * layer.scale
    torch.testing.assert_close(layer.products(levels).double(), exact, rtol=1e-4, atol=1e-4)


def test_a_weight_shares_its_levels_only_with_its_neighbour_of_like_sign() -> None:
    assert largest_pair(torch.tensor([[3.0, -3.0, 1.0, 2.0], [2.0, 1.0, 2.0, 0.0], [-2.0, -2.0, 0.0, 3.0]])).tolist() == [3, 3, 4]


@pytest.mark.parametrize("shape", [(64, 90), (72, 96)])
def test_a_layer_that_passes_would_read_beyond_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match=rf"\({shape[0]}, {shape[1]}\).*16; use fp32"):
        Int8Linear(torch.ones(shape), torch.zeros(shape[0]), torch.ones(shape[1]), wide=True)


def test_a_constant_row_is_its_middle() -> None:
    rows, weight, bias = example()
    rows[3] = 0.25
    expected = 0.25 * weight.sum(1) + bias
    torch.testing.assert_close(layer_of(rows, weight, bias)(rows)[3], expected, rtol=0.02, atol=0.1)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e3])
def test_no_level_of_a_row_wraps_however_far_off_nought_and_wide_the_row_is(spread: float) -> None:
    draw = torch.Generator().manual_seed(9)
    rows = 7 * torch.randn((2_000, 96), generator=draw).sign() * spread + 5 * torch.randn((2_000, 1), generator=draw)
    weight = torch.eye(96)  # each output is an input, so one that wrapped is off by the whole width of its row
    near = Int8Linear(weight, torch.zeros(96), torch.ones(96), wide=adds_wide())(rows)
    level = (rows.amax(1, keepdim=True) - rows.amin(1, keepdim=True)) / (2 * LEVELS)
    assert ((near - rows).abs() <= level + 1e-5 * rows.abs()).all()


def test_an_input_that_is_large_in_every_text_does_not_take_all_levels() -> None:
    rows, weight, bias = example()
    rows[:, 5] *= 100
    weight[:, 5] *= 0.02
    exact = torch.nn.functional.linear(rows, weight, bias)
    cosine = torch.nn.functional.cosine_similarity(layer_of(rows, weight, bias)(rows), exact, dim=1)
    assert cosine.min() > 0.998


@pytest.mark.parametrize(("name", "exponent"), [("layer", 0.5), ("layer.query_key_value", 0.8)])
def test_what_goes_into_attention_is_evened_out_more(name: str, exponent: float) -> None:
    rows, weight, bias = example()
    typical, largest = rows.square().mean(0).sqrt(), weight.abs().amax(0)
    layer = int8_linear({name: typical})(name, weight, bias)
    assert isinstance(layer, Int8Linear)
    torch.testing.assert_close(layer.evened, largest ** (1 - exponent) / typical**exponent)


def test_every_layer_of_a_trunk_is_measured_the_same_each_time() -> None:
    first, again = typical_inputs(tiny_trunk), typical_inputs(tiny_trunk)
    (packed,) = pack([torch.arange(4, 20).numpy()], 64)
    exact, _ = tiny_trunk(float_linear(torch.float32))(packed)
    near, _ = tiny_trunk(int8_linear(first))(packed)
    assert len(first) == 4 * LAYERS
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert torch.nn.functional.cosine_similarity(near, exact, dim=1).min() > 0.999
