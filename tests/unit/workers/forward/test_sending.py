import numpy as np
import torch

from workers.encoder import TokenIds
from workers.forward.packing import pack
from workers.forward.sending import Sent, send, sort

CPU = torch.device("cpu")


def texts_of(*lengths: int) -> list[TokenIds]:
    draw = np.random.default_rng(0)
    return [draw.integers(3, 200, length).astype(np.int32) for length in lengths]


def held(sent: Sent) -> list[list[int]]:
    """Return the ids of each text, in the order of the batch, as they are found on the device."""
    batch = sort(sent)
    ends = batch.starts.tolist()
    found = {place: batch.ids[begin:end] for place, begin, end in zip(sent.order.tolist(), ends, ends[1:], strict=False)}
    return [found[place].tolist() for place in range(len(found))]


def test_every_text_arrives_whole_the_longest_first() -> None:
    tokens = texts_of(5, 0, 17, 9, 17, 3)
    sent = send(tokens, CPU)
    batch = sort(sent)
    assert sent.order.tolist() == [2, 4, 3, 0, 5, 1]
    assert held(sent) == [ids.tolist() for ids in tokens]
    assert batch.positions.tolist() == [*range(17), *range(17), *range(9), *range(5), *range(3)]
    assert {part.dtype for part in (batch.ids, batch.positions, batch.starts)} == {torch.int32}


def test_bins_hold_every_text_once_and_are_those_of_the_cpu() -> None:
    draw = np.random.default_rng(1)
    tokens = texts_of(*draw.integers(1, 60, 200).tolist(), 90)
    sent = send(tokens, CPU)
    bins = list(sent.bins(64))
    assert [first for first, _ in bins] == [0, *(last for _, last in bins)][:-1]
    assert [int(sent.lengths[first:last].sum()) for first, last in bins] == [one.tokens for one in pack(tokens, 64)]
    assert bins[0] == (0, 1)  # 90 tokens: alone


def test_neighbours_are_counted_within_texts_only() -> None:
    assert send(texts_of(5, 0, 1, 3), CPU).pairs == 4 + 2


def test_no_text_is_a_batch_too() -> None:
    sent = send([], CPU)
    assert list(sent.bins(64)) == []
    assert held(sent) == []
