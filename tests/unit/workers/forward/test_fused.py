"""The kernels of the packed trunk, run by Triton's interpreter: float32 on a CPU.

Triton decides when it is imported whether it interprets, so this module imports it first.
"""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import gelu

from tests.unit.workers.forward.test_graphs import attend_one_by_one
from tests.unit.workers.tiny_model import tiny_weights
from workers.encoder import TokenIds
from workers.forward.graphs import PackedTrunk, Shape, plain_plan, pool
from workers.forward.heads import SentimentHead
from workers.forward.sending import send
from workers.forward.steady import FilledRows, bare
from workers.forward.trunk import Linear, Norm, Sizes, Trunk, build, float_linear

with pytest.MonkeyPatch.context() as patched:
    patched.setenv("TRITON_INTERPRET", "1")
    pytest.importorskip("triton")
    from workers.forward import fused

# Rows of no text hold anything, and a NumPy sum of anything warns.
pytestmark = [pytest.mark.filterwarnings(f"ignore:{what} encountered:RuntimeWarning") for what in ("overflow", "invalid value")]
CPU = torch.device("cpu")
ROWS = 128


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")


def some(*sizes: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(sum(sizes))) * scale


def layer(inputs: int, outputs: int) -> Linear:
    return Linear(some(outputs, inputs, scale=0.05), some(outputs))


def test_a_product_is_finished_as_the_plain_layer_does() -> None:
    rows, own = some(ROWS, 384), layer(384, 256)
    blocks = fused.Blocks(64, 128, 64, 4, 2)
    torch.testing.assert_close(fused.linear(rows, own, blocks), own(rows), rtol=0, atol=1e-4)
    torch.testing.assert_close(fused.linear(rows, own, blocks, gelu=True), gelu(own(rows)), rtol=0, atol=5e-4)


def test_gelu_is_the_exact_one_where_numbers_are_common() -> None:
    wide = torch.linspace(-4, 4, 384).repeat(ROWS, 1)
    through = Linear(torch.eye(384), torch.zeros(384))
    found = fused.linear(wide, through, fused.Blocks(64, 128, 64, 4, 2), gelu=True)
    assert float((found - gelu(wide)).abs().max()) < 6e-5


def test_a_product_goes_past_and_is_normalised() -> None:
    rows, own, past = some(ROWS, 256), layer(256, 384), some(ROWS, 384)
    norm = Norm(some(384), some(384, scale=0.5), 1e-12)
    found = fused.linear_norm(rows, own, past, norm, fused.Blocks(64, 128, 64, 4, 2))
    torch.testing.assert_close(found, norm(past + own(rows)), rtol=0, atol=1e-4)


@pytest.mark.slow
def test_texts_attend_to_themselves_whatever_their_length_and_neighbours() -> None:
    triples = some(256, 1152)
    starts = torch.tensor([0, 1, 6, 48, 117, 247, 247, 247], dtype=torch.int32)
    triples[247:] = float("nan")
    cut = fused.Texts(64, 64, 3, 4, 2)
    found = fused.attend(triples, starts, 130, 12, cut)[:247]
    torch.testing.assert_close(found, attend_one_by_one(triples, starts, 130, 12)[:247])
    for begin, end in ((1, 6), (48, 117), (117, 247)):
        alone = fused.attend(triples[begin:end].clone(), torch.tensor([0, end - begin], dtype=torch.int32), 512, 12, cut)
        assert torch.equal(alone, found[begin:end])


def test_pooling_is_the_plain_one_and_knows_no_neighbours() -> None:
    rows, query = some(ROWS, 384), some(384, scale=0.1)
    rows[70:] = float("nan")
    starts = torch.tensor([0, 3, 40, 70, 70], dtype=torch.int32)
    owner = torch.repeat_interleave(torch.diff(starts))
    found = fused.pool(rows, starts, query)[:3]
    torch.testing.assert_close(found, pool(rows[:70], owner, starts[:4].long(), query))
    assert torch.equal(fused.pool(rows[3:40].clone(), torch.tensor([0, 37]), query)[0], found[1])


def tiny_trunk() -> tuple[Trunk, SentimentHead]:
    torch.manual_seed(0)
    trunk = build(tiny_weights(), Sizes(12, 1, 1e-12), float_linear(torch.float32), torch.float32)
    return trunk, SentimentHead(384).requires_grad_(False)


def answers(plan: object, texts: Sequence[TokenIds], *known: Shape) -> Tensor:
    with torch.inference_mode():
        return PackedTrunk(plan, CPU, known)(send(texts, CPU))  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_whole_trunk_answers_as_the_plain_one_in_every_shape() -> None:
    trunk, head = tiny_trunk()
    draw = np.random.default_rng(0)
    texts = [draw.integers(3, 200, length).astype(np.int32) for length in (3, 40, 12, 64, 7)]
    plan = fused.plan(trunk, head)
    together = answers(plan, texts, Shape(128, 5, 64))
    plain = answers(plain_plan(trunk, head, attend_one_by_one), texts, Shape(128, 5, 64))
    torch.testing.assert_close(together, plain, rtol=0, atol=2e-3)
    # Not the same bits here: the interpreter's products are NumPy's. On a GPU they are (docs/model-card.md).
    torch.testing.assert_close(answers(plan, texts[1:3], Shape(256, 2, 64)), together[1:3], rtol=0, atol=1e-5)


def test_only_an_ordinary_layer_is_taken_apart() -> None:
    own = layer(4, 4)
    assert bare(FilledRows(own, [16])) is own
    with pytest.raises(TypeError, match="no ordinary linear layer"):
        bare(lambda rows: rows)
