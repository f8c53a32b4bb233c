"""How sure the sentiment head may be of each text: fitted on dev texts, every set of them counting alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from workers.forward.heads import temperature

PENALTIES: Final = (1.0, 0.1, 0.03, 0.01, 0.003)
_ITERATIONS: Final = 100
_RULED_OUT: Final = -1e4


@dataclass(frozen=True, slots=True)
class Evidence:
    """One set's dev texts. seen: (n, units) of the head; logits: (n, 3) before any temperature; classes: (n,)."""

    seen: Tensor
    logits: Tensor
    classes: Tensor
    two_class: bool

    def half(self, which: int) -> "Evidence":
        """Return every second text, from the first or from the second on."""
        return Evidence(self.seen[which::2], self.logits[which::2], self.classes[which::2], self.two_class)


def fit_cooling(sets: Sequence[Evidence]) -> Tensor:
    """Return the cooling of a head, (units + 1,), of least log loss; the penalty is the best one for halves that it did not see.

    Each set needs two texts at least.
    """
    losses = {penalty: sum(_unseen(sets, penalty, which) for which in (0, 1)) for penalty in PENALTIES}
    return _fit(sets, min(losses, key=losses.__getitem__))


def log_loss(sets: Sequence[Evidence], cooling: Tensor) -> Tensor:
    """Return the mean over the sets of their mean log loss, neutral ruled out where a set knows none."""
    return torch.stack([cross_entropy(_cooled(one, cooling), one.classes) for one in sets]).mean()


def _cooled(one: Evidence, cooling: Tensor) -> Tensor:
    logits = one.logits / temperature(one.seen, cooling)
    if one.two_class:
        logits = torch.stack([logits[:, 0], torch.full_like(logits[:, 1], _RULED_OUT), logits[:, 2]], dim=1)
    return logits


def _unseen(sets: Sequence[Evidence], penalty: float, which: int) -> float:
    return float(log_loss([one.half(1 - which) for one in sets], _fit([one.half(which) for one in sets], penalty)))


def _fit(sets: Sequence[Evidence], penalty: float) -> Tensor:
    cooling = torch.zeros(sets[0].seen.shape[1] + 1, requires_grad=True)
    optimiser = torch.optim.LBFGS([cooling], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = log_loss(sets, cooling) + penalty * cooling[:-1].square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return cooling.detach()
