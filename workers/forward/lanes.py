"""Sixteen floats at a time, for functions that numba compiles: what they say is what the processor does.

A compiler that finds such steps in a loop by itself takes half of what a processor with AVX-512 has, and none for a sum or a
largest value, whose order it may not change. Here the order is written down, the same on every processor: one instruction where
registers hold sixteen floats, two or four where they hold fewer.

A ``lanes`` value knows +, -, * with another or with a float32, which then stands in every lane; a * b + c is one step. It is
loaded from a flat array: float32, or uint16, whose numbers are read as bfloat16.
"""

# mypy: ignore-errors

import operator
from functools import reduce
from typing import Final

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model
from torch import Tensor

LANES: Final = 16
COMPILED: Final = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
"""How numba shall compile: no check before a division; a * b + c in one step, nothing else out of its order."""
_FLAGS = ("contract",)
_WHOLE = ir.IntType(32)
_FLOATS, _WHOLES = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(_WHOLE, LANES)
_SHORTS, _BYTES = ir.VectorType(ir.IntType(16), LANES), ir.VectorType(ir.IntType(8), LANES)
_BIAS, _FRACTION_BITS, _BRAIN_BITS = 127, 23, 16  # of a float32


def numbers(rows: Tensor) -> np.ndarray:
    """Return rows on a CPU as numpy sees them, bfloat16 as the uint16 of the same bits."""
    return (rows if rows.dtype == torch.float32 else rows.view(torch.uint16)).numpy()


class _Lanes(types.Type):
    def __init__(self):
        super().__init__(name="lanes")


lanes = _Lanes()


@register_model(_Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _FLOATS)


def _each(value):
    return ir.Constant(_WHOLES, [value] * LANES)


def _place(context, builder, kind, array, index, vector):
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())


@intrinsic
def spread(_typing, _value):
    """Return a float32 in every lane."""

    def make(_context, builder, _signature, given):
        first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), given[0], _WHOLE(0))
        return builder.shuffle_vector(first, ir.Constant(_FLOATS, ir.Undefined), _each(0))

    return lanes(types.float32), make


@intrinsic
def load(_typing, array, _index):
    """Return what stands from an index of a flat array on."""

    def make(context, builder, signature, given):
        return _loaded(context, builder, signature.args[0], *given)

    return lanes(array, types.intp), make


def _loaded(context, builder, kind, array, index):
    if kind.dtype == types.float32:
        return builder.load(_place(context, builder, kind, array, index, _FLOATS), align=4)
    halves = builder.load(_place(context, builder, kind, array, index, _SHORTS), align=2)
    return builder.bitcast(builder.shl(builder.zext(halves, _WHOLES), _each(_BRAIN_BITS)), _FLOATS)


@intrinsic
def store(_typing, array, _index, _value):
    """Write lanes from an index of a flat array on; bfloat16 is rounded to the nearest, halves to the even one."""

    def make(context, builder, signature, given):
        *place, value = given
        if array.dtype == types.float32:
            builder.store(value, _place(context, builder, signature.args[0], *place, _FLOATS), align=4)
            return context.get_dummy_value()
        bits = builder.bitcast(value, _WHOLES)
        odd = builder.and_(builder.lshr(bits, _each(_BRAIN_BITS)), _each(1))
        rounded = builder.lshr(builder.add(bits, builder.add(odd, _each(0x7FFF))), _each(_BRAIN_BITS))
        kept = builder.select(builder.fcmp_unordered("uno", value, value), _each(0x7FC0), rounded)
        builder.store(builder.trunc(kept, _SHORTS), _place(context, builder, signature.args[0], *place, _SHORTS), align=2)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), make


@intrinsic
def turned(_typing, rows, _index, _apart, _last, out, _to):
    """Write LANES rows of as many numbers to a flat float32 array, columns as rows.

    The first begins at an index, the next ones ``apart`` from each other; those after the ``last`` are that one again.
    """

    def make(context, builder, signature, given):
        given_rows, index, apart, last, found, to = given
        kinds = signature.args
        block = [
            _loaded(context, builder, kinds[0], given_rows, builder.add(index, builder.mul(apart, _smallest(builder, last, row))))
            for row in range(LANES)
        ]
        for half in (1, 2, 4, 8):
            block = [_woven(builder, block[row & ~half], block[row | half], half, bool(row & half)) for row in range(LANES)]
        for row, value in enumerate(block):
            at = builder.add(to, to.type(row * LANES))
            builder.store(value, _place(context, builder, kinds[4], found, at, _FLOATS), align=4)
        return context.get_dummy_value()

    return types.void(rows, types.intp, types.intp, types.intp, out, types.intp), make


def _smallest(builder, value, number):
    return builder.select(builder.icmp_signed("<", value, value.type(number)), value, value.type(number))


def _woven(builder, one, other, half, upper):
    """Return every other run of ``half`` lanes of two: the lower ones, or the upper ones."""
    chosen = [(place & ~half) + upper * half + bool(place & half) * LANES for place in range(LANES)]
    return builder.shuffle_vector(one, other, ir.Constant(_WHOLES, chosen))


@intrinsic
def store_bytes(_typing, array, _index, _value):
    """Write lanes of 0 to 255, cut to whole numbers, from an index of a flat array of uint8 on."""

    def make(context, builder, signature, given):
        *place, value = given
        cut = builder.trunc(builder.fptosi(value, _WHOLES), _BYTES)
        builder.store(cut, _place(context, builder, signature.args[0], *place, _BYTES), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), make


def _larger(builder, one, other):
    return builder.select(builder.fcmp_ordered(">", one, other), one, other)


def _smaller(builder, one, other):
    return builder.select(builder.fcmp_ordered("<", one, other), one, other)


def _sum(builder, one, other):
    return builder.fadd(one, other, flags=_FLAGS)


def _of_two(operation, text):
    @intrinsic
    def both(_typing, _one, _other):
        return lanes(lanes, lanes), lambda _context, builder, _signature, given: operation(builder, *given)

    both.__doc__ = text
    return both


def _across(operation, text):
    @intrinsic
    def within(_typing, _value):
        def fold(builder, value, half):
            opposite = ir.Constant(_WHOLES, [place ^ half for place in range(LANES)])
            return operation(builder, value, builder.shuffle_vector(value, value, opposite))

        def make(_context, builder, _signature, given):
            folded = reduce(lambda value, half: fold(builder, value, half), (8, 4, 2, 1), given[0])
            return builder.extract_element(folded, _WHOLE(0))

        return types.float32(lanes), make

    within.__doc__ = text
    return within


most = _of_two(_larger, "Return the larger of each lane, the second's where one is no number.")
least = _of_two(_smaller, "Return the smaller of each lane, the second's where one is no number.")
total = _across(_sum, "Return the sum over the lanes.")
greatest = _across(_larger, "Return the largest lane.")
lowest = _across(_smaller, "Return the smallest lane.")


@intrinsic
def nearest(_typing, _value):
    """Return each lane as the nearest whole number."""

    def make(_context, builder, _signature, given):
        kind = ir.FunctionType(_FLOATS, [_FLOATS])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.nearbyint.v{LANES}f32"), given)

    return lanes(lanes), make


@intrinsic
def power_of_two(_typing, _value):
    """Return 2 to the power of whole numbers from -126 to 127, written into the exponent."""

    def make(_context, builder, _signature, given):
        exponent = builder.add(builder.fptosi(given[0], _WHOLES), _each(_BIAS))
        return builder.bitcast(builder.shl(exponent, _each(_FRACTION_BITS)), _FLOATS)

    return lanes(lanes), make


def _operator(symbol, name):
    both = _of_two(lambda builder, one, other: getattr(builder, name)(one, other, flags=_FLAGS), f"Do {name} lane by lane.")

    @overload(symbol)
    def choose(one, other):
        if lanes not in (one, other):
            return None
        if isinstance(one, types.Float):
            return lambda one, other: both(spread(one), other)
        if isinstance(other, types.Float):
            return lambda one, other: both(one, spread(other))
        return lambda one, other: both(one, other)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")
