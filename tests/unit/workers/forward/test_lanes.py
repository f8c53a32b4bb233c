"""Sixteen floats at a time: what numba compiles of them, against numpy and torch."""

# mypy: ignore-errors

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from numba import njit

from workers.forward import lanes

Numbers = npt.NDArray[Any]
VALUES = np.random.default_rng(4).normal(size=lanes.LANES).astype(np.float32) * 20


@njit
def calculated(one: Numbers, other: Numbers, out: Numbers, scalar: np.float32) -> None:
    left, right = lanes.load(one, 0), lanes.load(other, 0)
    lanes.store(out, 0, left * right + scalar)
    lanes.store(out, 16, scalar - left)
    lanes.store(out, 32, lanes.most(left, right) - lanes.least(left, right))
    lanes.store(out, 48, lanes.power_of_two(lanes.nearest(left)))


@njit
def folded(one: Numbers) -> tuple[float, float, float]:
    own = lanes.load(one, 0)
    return lanes.total(own), lanes.greatest(own), lanes.lowest(own)


@njit
def copied(one: Numbers, at: int, out: Numbers) -> None:
    lanes.store(out, at, lanes.load(one, at))


@njit
def cut(one: Numbers, out: Numbers) -> None:
    lanes.store_bytes(out, 3, lanes.load(one, 0))


@njit
def transposed(rows: Numbers, index: int, apart: int, last: int, out: Numbers) -> None:
    lanes.turned(rows, index, apart, last, out, 16)


def test_lanes_are_calculated_one_by_one() -> None:
    other, out, two = VALUES[::-1].copy(), np.empty(64, np.float32), np.float32(2)
    calculated(VALUES, other, out, two)
    expected = VALUES * other + two, two - VALUES, np.abs(VALUES - other), np.exp2(np.rint(VALUES))
    np.testing.assert_allclose(out, np.concatenate(expected), rtol=1e-6, atol=1e-4)


def test_lanes_are_folded_into_one() -> None:
    whole, top, bottom = folded(VALUES)
    assert whole == pytest.approx(float(VALUES.sum()), rel=1e-5)
    assert (top, bottom) == (VALUES.max(), VALUES.min())


def test_bfloat16_is_read_exactly_and_rounded_as_torch_rounds() -> None:
    edges = [0.0, -0.0, 1.0, 1.00390625, 1.01171875, math.inf, -math.inf, math.nan, 3e38, 3.4e38, 1e-40, 1 / 3]
    floats = np.array(([0.5] * 5 + edges + [7.0] * 16)[:32], np.float32)
    short = np.zeros(32, np.uint16)
    copied(floats, 5, short)
    expected = torch.from_numpy(floats).bfloat16()
    found = torch.from_numpy(short).view(torch.bfloat16)
    torch.testing.assert_close(found[5:21], expected[5:21], rtol=0, atol=0, equal_nan=True)
    assert not found[:5].any()
    assert not found[21:].any()
    back = np.zeros(32, np.float32)
    copied(short, 5, back)
    np.testing.assert_array_equal(back[5:21], expected[5:21].float().numpy())


def test_bytes_are_cut_off_and_nothing_beside_them_is_written() -> None:
    given = np.linspace(0, 255.99, lanes.LANES, dtype=np.float32)
    out = np.full(32, 9, np.uint8)
    cut(given, out)
    np.testing.assert_array_equal(out[3:19], given.astype(np.uint8))
    assert (out[:3] == 9).all()
    assert (out[19:] == 9).all()


@pytest.mark.parametrize("last", [0, 6, 15, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.uint16])
def test_rows_are_turned_and_the_last_stands_for_those_after_it(dtype: type, last: int) -> None:
    apart, held = 21, min(last, lanes.LANES - 1)
    rows = (np.arange(3 + held * apart + lanes.LANES) * 64).astype(dtype)  # where it ends, nothing more may be read
    out = np.zeros((2 + lanes.LANES) * lanes.LANES, np.float32)
    transposed(rows, 3, apart, last, out)
    values = rows if dtype is np.float32 else torch.from_numpy(rows).view(torch.bfloat16).float().numpy()
    block = np.stack([values[3 + min(row, held) * apart :][: lanes.LANES] for row in range(lanes.LANES)])
    np.testing.assert_array_equal(out[16:-16].reshape(lanes.LANES, lanes.LANES), block.T)
    assert not out[:16].any()
    assert not out[-16:].any()
