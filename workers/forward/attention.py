"""Attention on a CPU, text by text, on rows as they lie: every text attends to itself, compiled by numba for this processor.

Posts are short: some 26 tokens by 32 numbers are multiplied before a matrix library has begun, and to lay rows out in buckets
for one costs as much again. Four queries at a time stay in registers, keys are turned once, and what a text gets depends on its
own rows alone.
"""

# mypy: ignore-errors

from math import e, log2
from typing import Final

import numpy as np
import torch
from numba import njit
from torch import Tensor

from workers.forward.lanes import (
    COMPILED,
    LANES,
    greatest,
    load,
    most,
    nearest,
    numbers,
    power_of_two,
    spread,
    store,
    total,
    turned,
)
from workers.forward.packing import Bin, pack
from workers.forward.trunk import Attend, Attending, Span

HEAD: Final = 32  # numbers of a head: E5 small's; known beforehand, loops over them become straight lines
_QUERIES: Final = 4
_QUERY, _KEY, _VALUE, _MATCH, _MIXED, _EDGE = range(6)  # rows of the room
_NOUGHT, _ONE, _NEVER = np.float32(0), np.float32(1), np.float32(-1e30)  # the last: what a place without a token matches
_SCALE = np.float32(log2(e) / np.sqrt(HEAD))  # of matches, as powers of two
_LEAST_POWER = np.float32(-100)  # no share so small that a processor is slow with it
_POWERS = tuple(
    np.float32(one)
    for one in (0.00015353344247, 0.0013398873678, 0.0096184374227, 0.055503324728, 0.24022647913, 0.69314720285, 1.0)
)  # from the highest down: 2 to the power of -0.5 to 0.5, a minimax fit, within 1e-7 in float32


def compiled(dtype: torch.dtype) -> Attending:
    """Return ``by_texts``, ready for rows of this type: compiling takes a second, which no text shall wait for."""
    (one,) = pack([np.zeros(1, np.int32)], 1)
    by_texts(one, [], 1)(torch.zeros((len(one.ids), 3 * HEAD), dtype=dtype), 1)
    return by_texts


def by_texts(packed: Bin, _spans: list[Span], _rows: int) -> Attend:
    """Return attention within each text of a bin, in float32 or bfloat16; rows of no text get zeros."""
    first = np.flatnonzero(packed.positions[: packed.tokens] == 0)
    starts = np.append(first, packed.tokens)
    longest = int(np.diff(starts).max())
    room = np.zeros((_EDGE + 1, (longest + LANES + _QUERIES) * HEAD), np.float32)

    def attend(triples: Tensor, _heads: int) -> Tensor:
        out = triples.new_empty((len(triples), triples.shape[1] // 3))
        out[packed.tokens :] = 0
        _attend(numbers(triples), starts, room, numbers(out))
        return out

    return attend


@njit(**COMPILED)
def _attend(triples, starts, room, out):
    """Attend. triples: (rows, 3 * hidden): queries, keys, values; starts: (texts + 1,); out: (rows, hidden)."""
    hidden = out.shape[1]
    given, found = triples.reshape(-1), out.reshape(-1)
    for text in range(len(starts) - 1):
        first, length = starts[text], starts[text + 1] - starts[text]
        _mark_edge(room[_EDGE], length)
        for head in range(0, hidden, HEAD):
            _lay_out(given, first * 3 * hidden + head, hidden, length, room)
            for query in range(0, length, _QUERIES):
                _match(room, query * HEAD, length)
                _mix(room, length)
                _write(room[_MIXED], found, (first + query) * hidden + head, hidden, min(_QUERIES, length - query))


@njit(inline="always")
def _mark_edge(edge, length):
    """Say which of the last keys are none, as what their matches begin with."""
    for place in range(LANES):
        edge[place] = _NOUGHT if place <= (length - 1) % LANES else _NEVER


@njit(inline="always")
def _lay_out(given, first, hidden, length, room):
    """Copy a text's rows of one head: queries scaled, keys turned, (blocks, HEAD, LANES), the last again where there is none."""
    queries, keys, values = room[_QUERY], room[_KEY], room[_VALUE]
    for token in range(0, length, LANES):
        for part in range(0, HEAD, LANES):
            at = first + token * 3 * hidden + hidden + part
            turned(given, at, 3 * hidden, length - 1 - token, keys, token * HEAD + part * LANES)
    for token in range(length):
        for part in range(0, HEAD, LANES):
            at, to = first + token * 3 * hidden + part, token * HEAD + part
            store(queries, to, load(given, at) * _SCALE)
            store(values, to, load(given, at + 2 * hidden))


@njit(inline="always")
def _match(room, query, length):
    """Write what share four queries take of each value, (4, span); of the last, those that are none take nothing."""
    match, span = room[_MATCH], -(-length // LANES) * LANES
    for key in range(0, span, LANES):
        begin = load(room[_EDGE], 0) if key + LANES == span else spread(_NOUGHT)
        _product((room[_QUERY], query, HEAD), (room[_KEY], key * HEAD, LANES), HEAD, begin, (match, key, span))
    for row in range(_QUERIES):
        _share(match, row * span, span)


@njit(inline="always")
def _mix(room, length):
    """Write the values, each by its share, (4, HEAD)."""
    span = -(-length // LANES) * LANES
    for part in range(0, HEAD, LANES):
        out = room[_MIXED], part, HEAD
        _product((room[_MATCH], 0, span), (room[_VALUE], part, HEAD), length, spread(_NOUGHT), out)


@njit(inline="always")
def _write(mixed, found, at, hidden, count):
    for row in range(count):
        for part in range(0, HEAD, LANES):
            store(found, at + row * hidden + part, load(mixed, row * HEAD + part))


@njit(inline="always")
def _product(left, right, count, begin, out):
    """Write ``begin`` and four rows of a product of ``count`` terms, LANES outputs of each.

    left, right, out: a flat array, where in it the first row begins, and how far from there the next one does.
    """
    given, first, apart = left
    others, start, step = right
    one = two = three = four = begin
    for place in range(count):
        own = load(others, start + place * step)
        one = own * given[first + place] + one
        two = own * given[first + apart + place] + two
        three = own * given[first + 2 * apart + place] + three
        four = own * given[first + 3 * apart + place] + four
    found, to, beside = out
    store(found, to, one)
    store(found, to + beside, two)
    store(found, to + 2 * beside, three)
    store(found, to + 3 * beside, four)


@njit(inline="always")
def _share(match, begin, span):
    """Make of matches their softmax, in place."""
    top = load(match, begin)
    for place in range(begin + LANES, begin + span, LANES):
        top = most(top, load(match, place))
    high, whole = greatest(top), spread(_NOUGHT)
    for place in range(begin, begin + span, LANES):
        share = _power(load(match, place) - high)
        store(match, place, share)
        whole = whole + share
    scale = _ONE / total(whole)
    for place in range(begin, begin + span, LANES):
        store(match, place, load(match, place) * scale)


@njit(inline="always")
def _power(value):
    """Return 2 to the power of lanes, not below that of _LEAST_POWER."""
    value = most(value, spread(_LEAST_POWER))
    whole = nearest(value)
    rest = value - whole
    curve = spread(_POWERS[0])
    for place in range(1, len(_POWERS)):
        curve = curve * rest + _POWERS[place]
    return curve * power_of_two(whole)
