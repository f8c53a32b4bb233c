"""The losses of a batch as sums of one shape, whatever sets its texts are from, so that a recorded step can repeat them.

Every text goes through every head; tables by set say what it is asked there. A text of the set after the last one is
filling: nothing is asked of it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from workers.training.data import NEUTRAL, Prepared

NEVER = -1e4  # a logit that no class is chosen by, and that stays finite in every sum


class Labels(NamedTuple):
    """What texts should be answered. sets and classes: (n,) the set of each text, and its class there.

    partner: (n,) the place of each text's other form in the batch; its own where it has none. targets: (n, 3) float32, the chance
    that each sentiment should have; zeros for texts that are asked for an intent.
    """

    sets: Tensor
    classes: Tensor
    partner: Tensor
    targets: Tensor

    def at(self, order: Tensor) -> "Labels":
        """Return them in another order."""
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order))
        return Labels(self.sets[order], self.classes[order], places[self.partner[order]], self.targets[order])

    def to(self, device: torch.device) -> "Labels":
        """Return them on a device that need not be waited for."""
        return Labels(*(part.to(device, non_blocking=True) for part in self))


class Tasks(nn.Module):
    """What the sets of a run ask, by set and filling.

    classes: (sets + 1, 3) the sentiments that a set knows; weights: (sets + 1, 3) of each in the loss, zero where the set asks
    for none; first: (sets + 1,) a set's first intent among those of all sets; own: (sets + 1, intents) which are its own.
    """

    classes: Tensor
    weights: Tensor
    first: Tensor
    own: Tensor

    def __init__(self, sets: Sequence[Prepared]) -> None:
        super().__init__()
        classes, weights = torch.ones(len(sets) + 1, 3, dtype=torch.bool), torch.zeros(len(sets) + 1, 3)
        intents = [len(one.names) if one.config.task == "intent" else 0 for one in sets]
        first = torch.tensor([sum(intents[:index]) for index in range(len(sets) + 1)])
        own = torch.zeros(len(sets) + 1, sum(intents), dtype=torch.bool)
        for index, one in enumerate(sets):
            if one.config.task == "sentiment":
                weights[index] = torch.from_numpy(one.weights)
                classes[index, NEUTRAL] = not one.two_class
            own[index, first[index] : first[index + 1]] = True
        for name, value in (("classes", classes), ("weights", weights), ("first", first), ("own", own)):
            self.register_buffer(name, value, persistent=False)

    @property
    def filling(self) -> int:
        """Return the set of texts of which nothing is asked."""
        return len(self.first) - 1

    def sentiment(self, logits: Tensor, labels: Labels, smoothing: float) -> Tensor:
        """Return the weighted cross entropy with smoothed targets, a mean over the texts that are asked for a sentiment."""
        known = self.classes[labels.sets]
        chances = log_softmax(logits.masked_fill(~known, NEVER), 1)
        even = (chances * known).sum(1, keepdim=True) / known.sum(1, keepdim=True)
        weights = self.weights[labels.sets]
        each = -(labels.targets * weights * ((1 - smoothing) * chances + smoothing * even)).sum(1)
        return each.sum() / (weights.sum(1) > 0).sum().clamp(min=1)

    def intent(self, logits: Tensor, labels: Labels) -> Tensor:
        """Return the cross entropy, a mean over the texts that are asked for an intent. logits: (n, intents)."""
        own = self.own[labels.sets]
        asked = own.any(1)
        chances = log_softmax(logits.masked_fill(~own, NEVER), 1)
        target = torch.where(asked, self.first[labels.sets] + labels.classes, 0)
        each = -chances.gather(1, target[:, None])[:, 0]
        return (each * asked).sum() / asked.sum().clamp(min=1)

    def apart(self, distances: Tensor, labels: Labels) -> Tensor:
        """Return the mean of the texts' distances (n,), filling left out."""
        real = labels.sets < self.filling
        return (distances * real).sum() / real.sum()

    def disagreement(self, sentiments: Tensor, intents: Tensor | None, labels: Labels) -> Tensor:
        """Return how far the answers to two forms of a text are apart, a mean over the texts that are asked for any.

        Both ways' Kullback-Leibler divergence: Wu et al. 2021, "R-Drop: regularized dropout for neural networks". sentiments:
        (n, 3) logits; intents: (n, intents) logits, None where no set has any.
        """
        asked = self.weights[labels.sets].sum(1) > 0
        total, count = (_divergence(sentiments, self.classes[labels.sets], labels) * asked).sum(), asked.sum()
        if intents is not None:
            own = self.own[labels.sets]
            asked = own.any(1)
            total, count = total + (_divergence(intents, own, labels) * asked).sum(), count + asked.sum()
        return total / count.clamp(min=1)


def _divergence(logits: Tensor, known: Tensor, labels: Labels) -> Tensor:
    """Return the divergence of each text's chances among the known classes from those of its other form, (n,)."""
    chances = log_softmax(logits.masked_fill(~known, NEVER), 1)
    return (chances.exp() * (chances - chances[labels.partner])).sum(1)
