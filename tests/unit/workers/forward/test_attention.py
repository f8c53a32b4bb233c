"""Attention text by text, against torch's in double precision; texts around every block of queries and of keys."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from workers.forward.attention import HEAD, by_texts
from workers.forward.packing import pack

HEADS, HIDDEN = 3, 3 * HEAD
LENGTHS = [1, 2, 3, 4, 5, 15, 16, 17, 26, 31, 32, 33, 48, 130, 257]
WITHIN = {torch.float32: 3e-6, torch.bfloat16: 0.02}


def texts_of(dtype: torch.dtype) -> dict[int, Tensor]:
    """Return one text of each length, by it: (length, 3 * hidden)."""
    draw = torch.Generator().manual_seed(3)
    return {length: torch.randn((length, 3 * HIDDEN), generator=draw).mul(2).to(dtype) for length in LENGTHS}


def attended(texts: dict[int, Tensor]) -> dict[int, Tensor]:
    """Attend in one bin; return the rows of each text."""
    (packed,) = pack([np.full(length, length, np.int32) for length in texts], sum(texts))
    places = {length: np.flatnonzero(packed.ids == length) for length in texts}
    given = next(iter(texts.values())).new_full((len(packed.ids), 3 * HIDDEN), math.nan)
    for length, own in places.items():
        given[own] = texts[length]
    found = by_texts(packed, [], 0)(given, HEADS)
    assert not found[packed.tokens :].any()
    return {length: found[own] for length, own in places.items()}


def exact(rows: Tensor) -> Tensor:
    query, key, value = rows.double().view(len(rows), 3, HEADS, HEAD).permute(1, 2, 0, 3)
    return scaled_dot_product_attention(query, key, value).transpose(0, 1).reshape(len(rows), HIDDEN)


@pytest.mark.parametrize("dtype", WITHIN)
def test_every_text_attends_to_itself(dtype: torch.dtype) -> None:
    texts = texts_of(dtype)
    for length, found in attended(texts).items():
        torch.testing.assert_close(found.double(), exact(texts[length]), rtol=0.01, atol=WITHIN[dtype])


@pytest.mark.parametrize("dtype", WITHIN)
def test_a_text_gets_the_same_bits_alone_and_among_others_even_broken_ones(dtype: torch.dtype) -> None:
    texts = texts_of(dtype)
    together = attended(texts)
    for length, own in texts.items():
        assert torch.equal(attended({length: own})[length], together[length])
    broken = attended(texts | {33: torch.full_like(texts[33], math.nan)})
    assert broken.pop(33).isnan().all()
    assert all(torch.equal(found, together[length]) for length, found in broken.items())


@pytest.mark.parametrize("apart", [1e2, 1e4])
def test_a_key_that_matches_far_better_takes_all(apart: float) -> None:
    text = texts_of(torch.float32)[17]
    text[:, : 2 * HIDDEN] = 1.0
    text[5, HIDDEN : 2 * HIDDEN] = apart
    torch.testing.assert_close(attended({17: text})[17], text[5, 2 * HIDDEN :].expand(17, -1))
