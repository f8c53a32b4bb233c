import torch
from torch import nn

from workers.training.averaging import Average


def stepped(model: nn.Linear, average: Average, values: list[float], first: int = 1) -> None:
    for step, value in enumerate(values, start=first):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(step)


def test_the_mean_follows_the_weights_and_forgets_the_first_steps() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = Average(model, 0.9)
    stepped(model, average, [100.0] + [1.0] * 100)
    assert abs(float(average.means["weight"]) - 1.0) < 0.1
    stepped(model, average, [2.0], first=102)
    assert 1.0 < float(average.means["weight"]) < 1.3


def test_lent_means_are_given_back() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = Average(model, 0.9)
    stepped(model, average, [1.0] * 50 + [3.0])
    with average.applied():
        assert float(model.weight.detach()) < 3.0
    assert float(model.weight.detach()) == 3.0
    average.apply()
    assert float(model.weight.detach()) < 3.0


def test_without_a_decay_there_is_no_mean() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = Average(model, 0.0)
    stepped(model, average, [5.0])
    average.apply()
    assert average.means == {}
    assert float(model.weight.detach()) == 5.0
