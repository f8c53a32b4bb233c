import pytest
import torch
from torch import Tensor

from workers.model.wording import said
from workers.training.word_shares import USUAL, Beside, fit_shares, per_column

TEXTS = 400
CLASSES = torch.arange(TEXTS) % 3


def told(kind: int, right: bool) -> Tensor:
    """What two kinds say of texts that look like one of them: the truth, or the truth of another text."""
    found = torch.zeros(TEXTS, 2, 4)
    found[:, kind, 0] = 20.0
    found[torch.arange(TEXTS), kind, 1 + (CLASSES if right else CLASSES.roll(1))] = 4.0
    return found.flatten(1)


def unsure(seed: int) -> Tensor:
    """Logits that are right for two texts of three."""
    draw = torch.Generator().manual_seed(seed)
    logits = torch.randn(TEXTS, 3, generator=draw)
    logits[torch.arange(TEXTS), CLASSES] += 1.0
    return logits


def test_words_that_know_better_count_more_and_words_that_mislead_less() -> None:
    sets = [Beside(unsure(1), told(0, right=True), CLASSES, False), Beside(unsure(2), told(1, right=False), CLASSES, False)]
    knowing, misleading = fit_shares(sets, 2).tolist()
    assert knowing > 2 * USUAL
    assert 0 < misleading < USUAL / 4


def test_a_set_without_neutral_texts_is_fitted_on_the_two_others() -> None:
    two = CLASSES != 1
    one = Beside(unsure(1)[two], told(0, right=True)[two], CLASSES[two], True)
    leaning = Beside(one.logits + torch.tensor([0.0, 9.0, 0.0]), one.told, one.classes, True)
    assert fit_shares([leaning], 2).tolist() == pytest.approx(fit_shares([one], 2).tolist(), rel=1e-3)
    assert fit_shares([one], 2)[0] > USUAL


def test_without_dev_texts_or_kinds_the_usual_share_stays() -> None:
    assert fit_shares([], 2).tolist() == pytest.approx([USUAL, USUAL])
    assert fit_shares([Beside(unsure(1), torch.zeros(TEXTS, 0), CLASSES, False)], 0).tolist() == []


def test_a_share_scales_the_answer_and_not_the_kind() -> None:
    table = torch.tensor([[0.5, 1.0, 2.0, 3.0, 0.1, 5.0, 6.0, 7.0]])
    halved = table * per_column(torch.tensor([0.5, 0.5]))
    assert halved[:, [0, 4]].tolist() == table[:, [0, 4]].tolist()
    torch.testing.assert_close(said(halved), said(table) / 2)
