"""From the rows of a trunk to one vector per text: the mean, and what a head looks at."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.forward.trunk import Span


def padded(rows: Tensor, span: Span) -> Tensor:
    """Return the rows of one group as (texts, bucket, hidden), zeros where no token stands."""
    flat = rows.new_zeros((span.texts * span.bucket, rows.shape[1]))
    return flat.index_copy(0, span.places, rows.index_select(0, span.targets)).view(span.texts, span.bucket, -1)


def present(span: Span, like: Tensor) -> Tensor:
    """Return (texts, bucket): 1 where a token stands."""
    if span.mask is None:
        return like.new_ones((span.texts, span.bucket))
    return span.mask.view(span.texts, span.bucket).to(like.dtype)


def mean(tokens: Tensor, where: Tensor) -> Tensor:
    """Return the mean of each text's tokens, (texts, hidden)."""
    return tokens.sum(1) / where.sum(1, keepdim=True)


def attended(tokens: Tensor, where: Tensor, query: Tensor) -> Tensor:
    """Return the average of each text's tokens weighted by their softmax match with ``query`` (hidden,)."""
    match = (tokens * query).sum(2).masked_fill(where == 0, float("-inf"))
    return (torch.softmax(match, dim=1).unsqueeze(2) * tokens).sum(1)


def unit(vectors: Tensor) -> Tensor:
    """Return the vectors at length one."""
    return normalize(vectors, dim=1)
