"""A running mean of the weights: smoother than the last step's, and better on texts nobody trained on.

Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; as an exponential mean, with the decay
raised from small values at the start (as tf.train.ExponentialMovingAverage does), so that the first steps are forgotten.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The means of a model's trainable tensors. A decay of 0 keeps none, and everything here does nothing."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._parameters = dict(model.named_parameters()) if decay else {}
        self.means: dict[str, Tensor] = {name: one.detach().clone() for name, one in self._parameters.items()}

    def update(self, step: int) -> None:
        """Take in the weights after a step (counted from 1)."""
        if self.means:
            with torch.no_grad():
                weight = 1 - min(self._decay, step / (step + 10))
                torch._foreach_lerp_(list(self.means.values()), list(self._parameters.values()), weight)

    def apply(self) -> None:
        """Set the model's weights to the means."""
        with torch.no_grad():
            for name, mean in self.means.items():
                self._parameters[name].copy_(mean)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Lend the model the means."""
        own = {name: one.detach().clone() for name, one in self._parameters.items()}
        self.apply()
        yield
        with torch.no_grad():
            for name, value in own.items():
                self._parameters[name].copy_(value)
