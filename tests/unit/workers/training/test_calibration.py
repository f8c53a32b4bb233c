import pytest
import torch

from workers.forward.heads import temperature
from workers.training.calibration import Evidence, fit_cooling, log_loss

pytestmark = pytest.mark.timeout(300)  # a dozen seconds of arithmetic, on a machine that may be busy


@pytest.mark.slow
def test_texts_that_deceive_the_head_get_a_higher_temperature_than_others() -> None:
    truth = torch.tensor([0, 2] * 100)
    logits = torch.zeros(200, 3)
    logits[torch.arange(200), truth] = 8.0
    seen = torch.zeros(200, 4)
    hard = torch.arange(200) % 4 < 2
    seen[hard, 1] = 1.0
    wrong = hard & (torch.arange(200) % 20 < 6)
    logits[wrong] = logits[wrong].flip(1)
    cooling = fit_cooling([Evidence(seen, logits, truth, two_class=False)])
    easy, deceived = temperature(torch.eye(4)[[0, 1]], cooling).squeeze(1).tolist()
    assert deceived > 2.5 > 2 * easy
    assert log_loss([Evidence(seen, logits, truth, two_class=True)], cooling) < 0.5
