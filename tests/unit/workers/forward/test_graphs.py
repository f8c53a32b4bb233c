from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from pipeline.settings import EncoderSettings
from tests.unit.workers.tiny_model import write_model, write_trained
from workers.forward.graphs import (
    PackedAttend,
    PackedTrunk,
    Shape,
    attend_packed,
    exact_shape,
    lay_out,
    plain_plan,
    pool,
    shape_for,
    shapes,
    to_host,
)
from workers.forward.packing import pack
from workers.forward.sending import send
from workers.model.transformer import load_encoder

pytestmark = pytest.mark.slow

ROWS = 64


def tokens_of(*lengths: int) -> list[np.ndarray[tuple[int], np.dtype[np.int32]]]:
    draw = np.random.default_rng(0)
    return [draw.integers(3, 200, length).astype(np.int32) for length in lengths]


def attend_one_by_one(query_key_value: Tensor, starts: Tensor, longest: int, heads: int) -> Tensor:
    """Do what the packed kernel does, text by text."""
    rows = query_key_value.shape[0]
    mixed = query_key_value.new_zeros(rows, query_key_value.shape[1] // 3)
    for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if end > begin:
            assert end - begin <= longest
            parts = query_key_value[begin:end].view(end - begin, 3, heads, -1).permute(1, 2, 0, 3)
            mixed[begin:end] = scaled_dot_product_attention(*parts[:, None]).squeeze(0).transpose(0, 1).reshape(end - begin, -1)
    return mixed


def test_the_shapes_are_few_and_hold_every_bin() -> None:
    known = shapes([4096], 128)
    assert len(known) == 18
    assert known[0] == Shape(4096, 64, 32)
    draw = np.random.default_rng(1)
    for _ in range(50):
        for packed in pack(tokens_of(*draw.integers(1, 129, draw.integers(1, 900))), 4096):
            shape = shape_for(exact_shape(packed), known)
            assert shape.rows == 4096
    with pytest.raises(ValueError, match="no shape holds"):
        shape_for(Shape(200, 1, 200), known)


def test_a_short_bin_takes_the_smallest_shape() -> None:
    assert shape_for(Shape(600, 30, 20), shapes([4096], 128)) == Shape(4096, 64, 32)


def test_a_layout_holds_every_text_once_and_nothing_after_them() -> None:
    tokens = tokens_of(5, 17, 9, 3)
    (packed,) = pack(tokens, ROWS)
    layout = lay_out(packed, Shape(ROWS, 8, 32))
    assert sorted(layout.members.tolist()) == [0, 1, 2, 3]
    for place, member in enumerate(layout.members.tolist()):
        begin, end = layout.starts[place], layout.starts[place + 1]
        assert layout.ids[begin:end].tolist() == tokens[member].tolist()
        assert layout.positions[begin:end].tolist() == list(range(end - begin))
        assert set(layout.owner[begin:end].tolist()) == {place}
    assert layout.starts[4:].tolist() == [34] * 5
    assert not layout.ids[34:].any()


def test_pooling_does_not_depend_on_the_neighbours() -> None:
    rows, query = torch.randn(12, 8), torch.randn(8)
    starts, owner = torch.tensor([0, 5, 12]), torch.tensor([0] * 5 + [1] * 7)
    both = pool(rows, owner, starts, query)
    alone = pool(rows[5:], torch.zeros(7, dtype=torch.int64), torch.tensor([0, 7]), query)
    assert torch.equal(both[1], alone[0])
    weights = torch.softmax(rows[:5] @ query, 0)
    torch.testing.assert_close(both[0], torch.cat([rows[:5].mean(0), (weights[:, None] * rows[:5]).sum(0)]))


def test_packed_texts_get_what_the_ordinary_trunk_gives(tmp_path: Path) -> None:
    settings = EncoderSettings(
        model=str(write_model(tmp_path / "model")), weights=write_trained(tmp_path / "weights"), device="cpu", max_tokens=64
    )
    encoder = load_encoder(settings, tmp_path, "fp32")
    tokens = tokens_of(3, 40, 12, 7, 25, 64, 4, 31)
    plan = plain_plan(encoder._parts.trunk, encoder._parts.sentiment, attend_one_by_one)
    packed = PackedTrunk(plan, torch.device("cpu"), shapes([512], 64))
    with torch.inference_mode():
        features, exact = packed(send(tokens, torch.device("cpu"))), encoder._features(tokens)
    torch.testing.assert_close(features, exact)


def test_a_trunk_whose_kernel_is_missing_or_wrong_is_not_taken(tmp_path: Path) -> None:
    settings = EncoderSettings(
        model=str(write_model(tmp_path / "model")), weights=write_trained(tmp_path / "weights"), device="cpu", max_tokens=64
    )
    encoder = load_encoder(settings, tmp_path, "fp32")

    def with_kernel(attend: PackedAttend) -> PackedTrunk:
        plan = plain_plan(encoder._parts.trunk, encoder._parts.sentiment, attend)
        return PackedTrunk(plan, torch.device("cpu"), shapes([512], 64))

    def missing(query_key_value: Tensor, starts: Tensor, longest: int, heads: int) -> Tensor:
        raise RuntimeError("no kernel image is available")

    def wrong(query_key_value: Tensor, starts: Tensor, longest: int, heads: int) -> Tensor:
        return -50 * attend_one_by_one(query_key_value, starts, longest, heads)

    assert encoder.agrees_with(with_kernel(attend_one_by_one))
    assert not encoder.agrees_with(with_kernel(missing))
    assert not encoder.agrees_with(with_kernel(wrong))


def test_the_packed_kernel_is_asked_in_the_words_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(query: Tensor, _key: Tensor, _value: Tensor, *_ends: object) -> Tensor:
        return query

    def new(query: Tensor, _key: Tensor, _value: Tensor, *_ends: object, num_splits: int = 0) -> Tensor:
        return query * num_splits

    triples, starts = torch.randn(4, 3 * 8), torch.tensor([0, 4])
    for kernel in (old, new):
        monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
        assert torch.equal(attend_packed(triples, starts, 4, 2), triples[:, :8])


def test_answers_reach_the_host_as_they_are() -> None:
    parts = [torch.randn(3, 4), torch.randn(3, 2)]
    for array, part in zip(to_host(parts)(), parts, strict=True):
        assert array.tolist() == part.tolist()
