"""What a layer of 8 bits does before and after its product, a pass over the rows each, compiled by numba for this processor.

torch goes over the rows a dozen times for the same. Every row is done by itself, in one order of sums for all numbers of rows.
"""

# mypy: ignore-errors

from typing import Final

import numpy as np
from numba import njit

from workers.forward.gelu import CURVE, EDGE

LEVELS: Final = 127.0
ZERO: Final = 128

_COMPILED = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}  # no check before a division; a * b + c in one step
_LOWEST, _HIGHEST = np.int32(-(2**31)), np.int32(2**31 - 1)
_SIGN, _OTHERS = np.int32(31), np.int32(2**31 - 1)
_HALF, _LEAST = np.float32(0.5), np.float32(1e-12)
_LEVELS, _ROUNDED_ZERO = np.float32(LEVELS), np.float32(ZERO + 0.5)  # to whole numbers by cutting off
_TOP = np.float32(EDGE)
_CURVE = tuple(np.float32(one) for one in CURVE)


@njit(inline="always")
def _ordered(bits):
    """Return whole numbers in the order of the floats of these bits, and back again."""
    return np.int32(bits ^ np.int32(np.int32(bits >> _SIGN) & _OTHERS))


@njit(**_COMPILED)
def to_levels(rows, factors, levels, middles, halves):
    """Write each row, times the factors, as whole levels about ZERO, at most LEVELS away; its middle and half width aside.

    rows: (n, inputs) float32; factors: (inputs,); levels: (n, inputs) uint8; middles, halves: (n,). The range is found among
    whole numbers: a compiler finds no least of several floats at once, since one may be no number.
    """
    scaled = np.empty(rows.shape[1], np.float32)
    bits = scaled.view(np.int32)
    ends = np.empty(2, np.float32)
    for row in range(len(rows)):
        low, high = _HIGHEST, _LOWEST
        for place in range(len(scaled)):
            scaled[place] = rows[row, place] * factors[place]
        for place in range(len(scaled)):
            here = _ordered(bits[place])
            low, high = min(low, here), max(high, here)
        ends.view(np.int32)[0], ends.view(np.int32)[1] = _ordered(low), _ordered(high)
        middle = (ends[0] + ends[1]) * _HALF
        half = max((ends[1] - ends[0]) * _HALF, _LEAST)
        step = _LEVELS / half
        for place in range(len(scaled)):
            levels[row, place] = np.int32((scaled[place] - middle) * step + _ROUNDED_ZERO)
        middles[row], halves[row] = middle, half


@njit(**_COMPILED)
def finish(rows, middles, halves, sums, bias):
    """Make of products (n, outputs) what the layer says, half * product + middle * sum + bias, in place.

    middles, halves: (n,); sums, bias: (outputs,). All float32.
    """
    for row in range(len(rows)):
        middle, half = middles[row], halves[row]
        for place in range(rows.shape[1]):
            rows[row, place] = rows[row, place] * half + (middle * sums[place] + bias[place])


@njit(**_COMPILED)
def finish_curved(rows, middles, halves, sums, bias):
    """Do the same and take GELU of it."""
    for row in range(len(rows)):
        middle, half = middles[row], halves[row]
        for place in range(rows.shape[1]):
            rows[row, place] = _gelu(rows[row, place] * half + (middle * sums[place] + bias[place]))


@njit(**_COMPILED)
def finish_added(rows, middles, halves, sums, bias, to):
    """Do the same and add ``to`` (n, outputs)."""
    for row in range(len(rows)):
        middle, half = middles[row], halves[row]
        for place in range(rows.shape[1]):
            rows[row, place] = rows[row, place] * half + (middle * sums[place] + bias[place]) + to[row, place]


@njit(inline="always")
def _gelu(value):
    near = min(max(value, -_TOP), _TOP)
    square = near * near
    curve = _CURVE[0]
    for place in range(1, len(_CURVE)):
        curve = curve * square + _CURVE[place]
    return value * (near * curve + _HALF)
