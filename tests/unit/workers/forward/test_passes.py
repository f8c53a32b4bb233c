"""The compiled passes around a product of 8 bits, against the same in plain numpy and torch."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from workers.forward import passes
from workers.forward.lanes import numbers

Numbers = npt.NDArray[Any]

DRAW = np.random.default_rng(11)
ROWS, INPUTS = 33, 112


def levels_of(rows: Numbers, factors: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    levels = np.empty(rows.shape, np.uint8)
    middles, halves = np.empty((2, len(rows)), np.float32)
    passes.to_levels(rows, factors, levels, middles, halves)
    return levels, middles, halves


def some(*shape: int) -> Numbers:
    return DRAW.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 40.0, -40.0])
def test_levels_reach_from_1_to_255_and_give_a_row_back(offset: float) -> None:
    rows, factors = some(ROWS, INPUTS) + np.float32(offset), np.abs(some(INPUTS)) + np.float32(0.5)
    levels, middles, halves = levels_of(rows, factors)
    scaled = rows * factors
    np.testing.assert_allclose(middles, (scaled.min(1) + scaled.max(1)) / 2, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(halves, (scaled.max(1) - scaled.min(1)) / 2, rtol=1e-5)
    assert (levels.min(1) == 1).all()
    assert (levels.max(1) == 255).all()
    back = (levels.astype(np.float32) - 128) / 127 * halves[:, None] + middles[:, None]
    assert (np.abs(back - scaled) <= halves[:, None] / 254 * 1.001).all()


@pytest.mark.parametrize("row", [[0.0] * 16, [-3.5] * 16, [0.0, -0.0] * 8])
def test_a_row_without_a_range_is_its_middle(row: list[float]) -> None:
    levels, middles, _ = levels_of(np.array([row], np.float32), np.ones(16, np.float32))
    assert (levels == 128).all()
    assert middles[0] == row[0]


@pytest.mark.parametrize("wrong", [np.nan, -np.nan, np.inf, -np.inf])
def test_a_row_that_holds_no_number_does_not_become_one(wrong: float) -> None:
    rows = some(3, INPUTS)
    rows[1, 70] = wrong
    _, middles, halves = levels_of(rows, np.ones(INPUTS, np.float32))
    found = some(3, 16)
    passes.finish(found, middles, halves, np.ones(16, np.float32), np.zeros(16, np.float32))
    assert np.isfinite(found).all(axis=1).tolist() == [True, False, True]


def test_a_product_is_finished_in_all_three_ways() -> None:
    product, to = some(ROWS, INPUTS), some(ROWS, INPUTS)
    middles, halves, sums, bias = some(ROWS), np.abs(some(ROWS)), some(INPUTS), some(INPUTS)
    exact = product * halves[:, None] + middles[:, None] * sums + bias
    plain, curved, onto = product.copy(), product.copy(), product.copy()
    passes.finish(plain, middles, halves, sums, bias)
    passes.finish_curved(curved, middles, halves, sums, bias)
    passes.finish_added(onto, middles, halves, sums, bias, to)
    np.testing.assert_allclose(plain, exact, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(onto, exact + to, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(curved, gelu(torch.from_numpy(exact)).numpy(), rtol=0, atol=4e-4)  # how near it is: next test


def test_the_curve_is_gelu_where_numbers_are_common_and_a_line_beyond() -> None:
    values = np.linspace(-30, 30, 60_000, dtype=np.float32)[None]
    found = values.copy()
    one, nought = np.ones(1, np.float32), np.zeros(values.shape[1], np.float32)
    passes.finish_curved(found, nought[:1], one, nought, nought)
    away = np.abs(found - gelu(torch.from_numpy(values)).numpy())
    assert away[np.abs(values) <= 4].max() < 6e-5
    assert (away <= 6e-5 * np.maximum(1, np.abs(values))).all()


def test_a_row_gets_the_same_bits_among_others_and_alone() -> None:
    rows, factors = some(ROWS, INPUTS), np.abs(some(INPUTS))
    together, alone = levels_of(rows, factors), [levels_of(rows[at : at + 1], factors) for at in range(ROWS)]
    for whole, parts in zip(together, zip(*alone, strict=True), strict=True):
        np.testing.assert_array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_norm_is_torchs_and_the_same_bits_among_others_and_alone(dtype: torch.dtype) -> None:
    rows, weight, bias = (torch.from_numpy(some(*shape)).to(dtype) for shape in ((ROWS, INPUTS), (INPUTS,), (INPUTS,)))
    rows = rows * 3 + 40
    together, alone = rows.clone(), [row.clone()[None] for row in rows]
    for one in (together, *alone):
        passes.norm(numbers(one), numbers(weight), numbers(bias), 1e-12)
    assert torch.equal(together, torch.cat(alone))
    exact = layer_norm(rows.double(), (INPUTS,), weight.double(), bias.double(), 1e-12)
    torch.testing.assert_close(together.double(), exact, rtol=1e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-4)
