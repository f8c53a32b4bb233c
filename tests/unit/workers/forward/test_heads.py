import pytest
import torch

from pipeline.errors import ModelError
from workers.forward import pooling
from workers.forward.heads import SentimentHead, fit_whitening, load_sentiment, load_whitening


def test_whitened_vectors_have_unit_length_and_no_common_direction() -> None:
    draw = torch.Generator().manual_seed(0)
    spread = torch.diag(torch.linspace(3, 1, 24))
    raw = torch.randn(4000, 24, generator=draw) @ spread + 5
    white = fit_whitening(raw)(raw)
    torch.testing.assert_close(white.norm(dim=1), torch.ones(4000))
    assert float((pooling.unit(raw).mean(0)).norm()) > 0.9
    assert float(white.mean(0).norm()) < 0.05
    covariance = white.T @ white / len(white) * 24
    assert float((covariance - torch.eye(24)).abs().max()) < 0.35


def test_the_heads_own_average_follows_its_query() -> None:
    tokens = torch.tensor([[[10.0, 0.0], [0.0, 10.0], [99.0, 99.0]]])
    where = torch.tensor([[1.0, 1.0, 0.0]])
    torch.testing.assert_close(pooling.attended(tokens, where, torch.zeros(2)), torch.tensor([[5.0, 5.0]]))
    torch.testing.assert_close(pooling.attended(tokens, where, torch.tensor([5.0, 0.0])), torch.tensor([[10.0, 0.0]]))


def test_a_higher_temperature_makes_answers_less_sure() -> None:
    torch.manual_seed(0)
    head = SentimentHead(8, 4)
    features = torch.randn(5, 16)
    sure = torch.softmax(head(features), 1).max(1).values
    head.cooling[-1] = 1.4
    assert bool((torch.softmax(head(features), 1).max(1).values < sure).all())


def test_a_head_of_another_shape_is_refused() -> None:
    tensors = dict(SentimentHead(8, 4).state_dict())
    tensors["out.weight"] = torch.zeros(2, 4)
    with pytest.raises(ModelError, match="sentiment head"):
        load_sentiment(tensors)


@pytest.mark.parametrize("mean", [None, torch.zeros(3)])
def test_a_whitening_that_is_missing_or_of_another_shape_is_refused(mean: torch.Tensor | None) -> None:
    tensors = {"matrix": torch.zeros(384, 384)} | ({} if mean is None else {"mean": mean})
    with pytest.raises(ModelError, match="the whitening"):
        load_whitening(tensors)
