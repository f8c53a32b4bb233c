"""The trunk's layers as few passes over memory: Triton kernels for packed rows in half precision, sums in float32.

A product is finished (bias, GELU, residual, normalisation) before it leaves the chip, and attention reads queries, keys and
values where the product left them. Products take ``TensorDescriptor``s: blocks that the memory engine of a Hopper chip brings
by itself, with no registers for addresses. Sums go along a text's own rows in blocks counted from its first one, in one fixed
configuration for all shapes, so that an answer does not depend on its neighbours. The number of rows is a multiple of the
rows of a block; rows that belong to no text hold anything and reach no text.
"""

# mypy: ignore-errors
# ruff: noqa: PLR0913, N803, N806 (a kernel takes its pointers one by one; what is known when it compiles is in capitals)

import triton
import triton.language as tl

from workers.forward import gelu as gelu_curve

LOG2_E = tl.constexpr(1.4426950408889634)
CURVE = tl.constexpr(gelu_curve.CURVE)
POWERS = tl.constexpr(len(gelu_curve.CURVE))
EDGE = tl.constexpr(gelu_curve.EDGE)


@triton.jit
def gelu(value):
    """Return value * Phi(value), Phi by the polynomial of ``gelu``: a true erf takes as long as the product before it."""
    near = tl.minimum(tl.maximum(value, -EDGE), EDGE)
    square = near * near
    curve = CURVE[0]
    for power in tl.static_range(1, POWERS):
        curve = curve * square + CURVE[power]
    return value * (near * curve + 0.5)


@triton.jit
def embed_kernel(
    ids,
    places,
    words,
    positions,
    gain,
    shift,
    out,
    EPSILON: tl.constexpr,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
):
    """Write norm(words[ids] + positions[places]) of a block of rows. PADDED: the power of two above WIDTH."""
    row = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    column = tl.arange(0, PADDED)
    inside = (column < WIDTH)[None, :]
    word = tl.load(ids + row).to(tl.int32)[:, None] * WIDTH + column[None, :]
    place = tl.load(places + row).to(tl.int32)[:, None] * WIDTH + column[None, :]
    value = tl.load(words + word, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(positions + place, mask=inside, other=0.0).to(tl.float32)
    apart = tl.where(inside, value - (tl.sum(value, 1) / WIDTH)[:, None], 0.0)
    scale = tl.rsqrt(tl.sum(apart * apart, 1) / WIDTH + EPSILON)
    gained = tl.load(gain + column, mask=column < WIDTH, other=0.0).to(tl.float32)[None, :]
    shifted = tl.load(shift + column, mask=column < WIDTH, other=0.0).to(tl.float32)[None, :]
    result = apart * scale[:, None] * gained + shifted
    tl.store(out + row[:, None] * WIDTH + column[None, :], result.to(out.dtype.element_ty), mask=inside)


@triton.jit
def linear_kernel(
    rows,
    weight,
    bias,
    out,
    INPUTS: tl.constexpr,
    GELU: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_OUT: tl.constexpr,
    BLOCK_IN: tl.constexpr,
):
    """Write rows @ weight.T + bias, through GELU where asked for. Grid: blocks of outputs, blocks of rows."""
    row, column = tl.program_id(1) * BLOCK_ROWS, tl.program_id(0) * BLOCK_OUT
    total = tl.zeros((BLOCK_ROWS, BLOCK_OUT), tl.float32)
    for start in range(0, INPUTS, BLOCK_IN):
        total = tl.dot(rows.load([row, start]), weight.load([column, start]).T, total)
    total += tl.load(bias + column + tl.arange(0, BLOCK_OUT)).to(tl.float32)[None, :]
    if GELU:
        total = gelu(total)
    out.store([row, column], total.to(out.dtype))


@triton.jit
def begun(bias, residual, row, column, WIDTH: tl.constexpr):
    """Return what a block of a product is added to: its bias and the rows that go past it."""
    past = tl.load(residual + row[:, None] * WIDTH + column[None, :]).to(tl.float32)
    return past + tl.load(bias + column).to(tl.float32)[None, :]


@triton.jit
def put(apart, scale, gain, shift, out, row, start, THIRD: tl.constexpr):
    """Write a block of normalised rows. apart: what is left of the mean."""
    column = start + tl.arange(0, THIRD)
    gained = tl.load(gain + column).to(tl.float32)[None, :]
    result = apart * scale[:, None] * gained + tl.load(shift + column).to(tl.float32)[None, :]
    out.store([row, start], result.to(out.dtype))


@triton.jit
def linear_norm_kernel(
    rows,
    weight,
    bias,
    residual,
    gain,
    shift,
    out,
    EPSILON: tl.constexpr,
    INPUTS: tl.constexpr,
    THIRD: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_IN: tl.constexpr,
):
    """Write norm(residual + rows @ weight.T + bias); a program holds whole rows, in three parts of THIRD outputs."""
    WIDTH: tl.constexpr = 3 * THIRD
    first = tl.program_id(0) * BLOCK_ROWS
    row = first + tl.arange(0, BLOCK_ROWS)
    column = tl.arange(0, THIRD)
    one = begun(bias, residual, row, column, WIDTH)
    two = begun(bias, residual, row, column + THIRD, WIDTH)
    three = begun(bias, residual, row, column + 2 * THIRD, WIDTH)
    for start in range(0, INPUTS, BLOCK_IN):
        block = rows.load([first, start])
        one = tl.dot(block, weight.load([0, start]).T, one)
        two = tl.dot(block, weight.load([THIRD, start]).T, two)
        three = tl.dot(block, weight.load([2 * THIRD, start]).T, three)
    mean = ((tl.sum(one, 1) + tl.sum(two, 1) + tl.sum(three, 1)) / WIDTH)[:, None]
    one, two, three = one - mean, two - mean, three - mean
    spread = (tl.sum(one * one, 1) + tl.sum(two * two, 1) + tl.sum(three * three, 1)) / WIDTH
    scale = tl.rsqrt(spread + EPSILON)
    put(one, scale, gain, shift, out, first, 0, THIRD)
    put(two, scale, gain, shift, out, first, THIRD, THIRD)
    put(three, scale, gain, shift, out, first, 2 * THIRD, THIRD)


@triton.jit
def attend_kernel(
    triples,
    starts,
    out,
    SCALE: tl.constexpr,
    WIDTH: tl.constexpr,
    HEAD: tl.constexpr,
    HEADS_EACH: tl.constexpr,
    BLOCK_QUERIES: tl.constexpr,
    BLOCK_KEYS: tl.constexpr,
):
    """Let each text attend to itself. triples: (rows, 3 * WIDTH). Grid: groups of heads, blocks of queries, texts."""
    begin = tl.load(starts + tl.program_id(2)).to(tl.int32)
    length = tl.load(starts + tl.program_id(2) + 1).to(tl.int32) - begin
    first = tl.program_id(1) * BLOCK_QUERIES
    if first < length:
        query_at = first + tl.arange(0, BLOCK_QUERIES)
        asks = (query_at < length)[:, None]
        unit = tl.arange(0, HEAD)
        for turn in range(HEADS_EACH):
            head = (tl.program_id(0) * HEADS_EACH + turn) * HEAD
            own = triples + begin * (3 * WIDTH) + head
            query = tl.load(own + query_at[:, None] * (3 * WIDTH) + unit[None, :], mask=asks, other=0.0)
            highest = tl.full((BLOCK_QUERIES,), float("-inf"), tl.float32)
            total = tl.zeros((BLOCK_QUERIES,), tl.float32)
            mixed = tl.zeros((BLOCK_QUERIES, HEAD), tl.float32)
            for key in range(0, length, BLOCK_KEYS):
                key_at = key + tl.arange(0, BLOCK_KEYS)
                there = key_at < length
                keys = tl.load(own + WIDTH + key_at[None, :] * (3 * WIDTH) + unit[:, None], mask=there[None, :], other=0.0)
                values = tl.load(own + 2 * WIDTH + key_at[:, None] * (3 * WIDTH) + unit[None, :], mask=there[:, None], other=0.0)
                match = tl.where(there[None, :], tl.dot(query, keys) * (SCALE * LOG2_E), float("-inf"))
                higher = tl.maximum(highest, tl.max(match, 1))
                share = tl.exp2(match - higher[:, None])
                fade = tl.exp2(highest - higher)
                total = total * fade + tl.sum(share, 1)
                mixed = tl.dot(share.to(values.dtype), values, mixed * fade[:, None])
                highest = higher
            result = (mixed / total[:, None]).to(out.dtype.element_ty)
            tl.store(out + (begin + query_at)[:, None] * WIDTH + head + unit[None, :], result, mask=asks)


@triton.jit
def pool_kernel(
    rows,
    starts,
    query,
    out,
    WIDTH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
):
    """Write the mean of a text's rows and their average weighted by the match with ``query``, (texts, 2 * WIDTH) float32."""
    text = tl.program_id(0)
    begin = tl.load(starts + text).to(tl.int32)
    length = tl.load(starts + text + 1).to(tl.int32) - begin
    if length > 0:
        column = tl.arange(0, PADDED)
        inside = column < WIDTH
        asked = tl.load(query + column, mask=inside, other=0.0)
        highest = float("-inf")
        total = 0.0
        plain = tl.zeros((PADDED,), tl.float32)
        chosen = tl.zeros((PADDED,), tl.float32)
        for start in range(0, length, BLOCK_ROWS):
            row = start + tl.arange(0, BLOCK_ROWS)
            there = row < length
            where = rows + (begin + row)[:, None] * WIDTH + column[None, :]
            value = tl.load(where, mask=there[:, None] & inside[None, :], other=0.0).to(tl.float32)
            match = tl.where(there, tl.sum(value * asked[None, :], 1), float("-inf"))
            higher = tl.maximum(highest, tl.max(match, 0))
            weight = tl.exp(match - higher)
            fade = tl.exp(highest - higher)
            total = total * fade + tl.sum(weight, 0)
            plain += tl.sum(value, 0)
            chosen = chosen * fade + tl.sum(weight[:, None] * value, 0)
            highest = higher
        tl.store(out + text * (2 * WIDTH) + column, plain / length, mask=inside)
        tl.store(out + text * (2 * WIDTH) + WIDTH + column, chosen / total, mask=inside)
