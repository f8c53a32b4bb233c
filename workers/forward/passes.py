"""What a layer does before and after its product, a pass over the rows each, compiled by numba for this processor.

torch goes over the rows a dozen times for the same. Every row is done by itself, in one order of sums for all numbers of rows.
Rows are as wide as a multiple of LANES.
"""

# mypy: ignore-errors

from typing import Final

import numpy as np
from numba import njit

from workers.forward.gelu import CURVE, EDGE
from workers.forward.lanes import COMPILED, LANES, greatest, least, load, lowest, most, spread, store, store_bytes, total

LEVELS: Final = 127.0
ZERO: Final = 128

_NOUGHT, _ONE, _HALF, _LEAST = np.float32(0), np.float32(1), np.float32(0.5), np.float32(1e-12)
_LEVELS, _ROUNDED_ZERO = np.float32(LEVELS), np.float32(ZERO + 0.5)  # to whole numbers by cutting off
_TOP = np.float32(EDGE)
_CURVE = tuple(np.float32(one) for one in CURVE)


@njit(**COMPILED)
def to_levels(rows, factors, levels, middles, halves):
    """Write each row, times the factors, as whole levels about ZERO, at most LEVELS away; its middle and half width aside.

    rows: (n, inputs) float32; factors: (inputs,); levels: (n, inputs) uint8; middles, halves: (n,). A row that holds no number
    somewhere has a half width that is none.
    """
    width = rows.shape[1]
    given, found = rows.reshape(-1), levels.reshape(-1)
    scaled = np.empty(width, np.float32)
    for row in range(len(rows)):
        first = row * width
        low = high = load(given, first) * load(factors, 0)
        wrong = spread(_NOUGHT)
        for place in range(0, width, LANES):
            own = load(given, first + place) * load(factors, place)
            store(scaled, place, own)
            low, high, wrong = least(low, own), most(high, own), own * _NOUGHT + wrong
        bottom, top = lowest(low), greatest(high)
        middle = (bottom + top) * _HALF
        half = max((top - bottom) * _HALF, _LEAST)
        step = _LEVELS / half
        for place in range(0, width, LANES):
            store_bytes(found, first + place, (load(scaled, place) - middle) * step + _ROUNDED_ZERO)
        middles[row], halves[row] = middle, half + total(wrong)


@njit(**COMPILED)
def finish(rows, middles, halves, sums, bias):
    """Make of products (n, outputs) what the layer says, half * product + middle * sum + bias, in place.

    middles, halves: (n,); sums, bias: (outputs,). All float32.
    """
    width, found = rows.shape[1], rows.reshape(-1)
    for row in range(len(rows)):
        for place in range(0, width, LANES):
            at = row * width + place
            store(found, at, _said(load(found, at), place, (halves[row], middles[row]), sums, bias))


@njit(**COMPILED)
def finish_curved(rows, middles, halves, sums, bias):
    """Do the same and take GELU of it."""
    width, found = rows.shape[1], rows.reshape(-1)
    for row in range(len(rows)):
        for place in range(0, width, LANES):
            at = row * width + place
            store(found, at, _gelu(_said(load(found, at), place, (halves[row], middles[row]), sums, bias)))


@njit(**COMPILED)
def finish_added(rows, middles, halves, sums, bias, to):
    """Do the same and add ``to`` (n, outputs)."""
    width, found, past = rows.shape[1], rows.reshape(-1), to.reshape(-1)
    for row in range(len(rows)):
        for place in range(0, width, LANES):
            at = row * width + place
            store(found, at, _said(load(found, at), place, (halves[row], middles[row]), sums, bias) + load(past, at))


@njit(**COMPILED)
def norm(rows, weight, bias, epsilon):
    """Normalise each row (n, width) in place, as torch's layer_norm does. All float32, or all bfloat16 as their bits."""
    width, found = rows.shape[1], rows.reshape(-1)
    for first in range(0, rows.size, width):
        whole, squares = spread(_NOUGHT), spread(_NOUGHT)
        for at in range(first, first + width, LANES):
            whole = whole + load(found, at)
        mean = total(whole) / np.float32(width)
        for at in range(first, first + width, LANES):
            away = load(found, at) - mean
            squares = away * away + squares
        scale = _ONE / np.sqrt(total(squares) / np.float32(width) + np.float32(epsilon))
        for place in range(0, width, LANES):
            own = (load(found, first + place) - mean) * scale
            store(found, first + place, own * load(weight, place) + load(bias, place))


@njit(inline="always")
def _said(product, place, of_row, sums, bias):
    half, middle = of_row
    return product * half + (load(sums, place) * middle + load(bias, place))


@njit(inline="always")
def _gelu(value):
    near = least(most(value, spread(-_TOP)), spread(_TOP))
    square = near * near
    curve = spread(_CURVE[0])
    for place in range(1, len(_CURVE)):
        curve = curve * square + _CURVE[place]
    return value * (near * curve + _HALF)
