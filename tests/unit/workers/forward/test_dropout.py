import pytest
import torch

from workers.forward.dropout import dropout


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_about_the_share_is_left_out_and_the_expectation_stays(share: float, dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    rows = torch.ones((301, 333), dtype=dtype)  # no multiple of eight
    found = dropout(rows, share, training=True).float()
    assert float((found == 0).float().mean()) == pytest.approx(share, abs=0.005)
    assert float(found.mean()) == pytest.approx(1, abs=0.01)
    assert len(set(found[found > 0].tolist())) == 1


def test_no_gradient_reaches_what_is_left_out() -> None:
    torch.manual_seed(3)
    rows = torch.ones((40, 50), requires_grad=True)
    found = dropout(rows, 0.3, training=True)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert rows.grad is not None
    assert torch.equal(rows.grad, found.detach())


def test_the_same_seed_leaves_out_the_same_and_each_call_something_else() -> None:
    rows = torch.ones((64, 64))
    torch.manual_seed(3)
    first, second = dropout(rows, 0.3, training=True), dropout(rows, 0.3, training=True)
    torch.manual_seed(3)
    assert torch.equal(dropout(rows, 0.3, training=True), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize(("share", "training"), [(0.3, False), (0.0, True)])
def test_nothing_is_left_out_when_nothing_should_be(share: float, training: bool) -> None:
    rows = torch.randn((16, 16))
    assert torch.equal(dropout(rows, share, training), rows)


@pytest.mark.parametrize("share", [1e-4, 0.9999])
def test_a_share_near_either_end_leaves_out_some_and_not_all(share: float) -> None:
    torch.manual_seed(3)
    found = dropout(torch.ones((512, 512)), share, training=True)
    assert 0 < int((found == 0).sum()) < found.numel()
