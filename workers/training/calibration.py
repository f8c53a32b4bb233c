"""How sure the sentiment head may be of each text: fitted on dev texts, every set of them counting alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from workers.forward.heads import SentimentHead, temperature
from workers.training.data import Prepared
from workers.training.loop import DevAnswers

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


def calibrated(head: SentimentHead, sets: Sequence[Prepared], answers: Mapping[int, DevAnswers]) -> Tensor:
    """Return the cooling of the sentiment head that fits all dev texts best, words included; none without dev texts."""
    found = [
        Evidence(own.seen, logits_of(head, own) + own.aside, torch.from_numpy(own.truth), one.two_class)
        for one, own in asked(sets, answers)
    ]
    return fit_cooling(found) if found else torch.zeros_like(head.cooling).cpu()


def asked(sets: Sequence[Prepared], answers: Mapping[int, DevAnswers]) -> list[tuple[Prepared, DevAnswers]]:
    """Return the sentiment sets that dev texts say something of, with the answers for these."""
    pairs = [(sets[index], own) for index, own in answers.items()]
    return [(one, own) for one, own in pairs if one.config.task == "sentiment" and len(own.truth) > 1]


def logits_of(head: SentimentHead, own: DevAnswers) -> Tensor:
    """Return what the head says of dev texts by itself, (n, 3)."""
    with torch.no_grad():
        found: Tensor = head.out(own.seen.to(head.cooling.device)).cpu()
    return found


def log_loss(sets: Sequence[Evidence], cooling: Tensor) -> Tensor:
    """Return the mean over the sets of their mean log loss, neutral ruled out where a set knows none."""
    return torch.stack([cross_entropy(_cooled(one, cooling), one.classes) for one in sets]).mean()


def _cooled(one: Evidence, cooling: Tensor) -> Tensor:
    logits = one.logits / temperature(one.seen, cooling)
    return without_neutral(logits) if one.two_class else logits


def without_neutral(logits: Tensor) -> Tensor:
    """Return logits (n, 3) by which no text is neutral."""
    return torch.stack([logits[:, 0], torch.full_like(logits[:, 1], _RULED_OUT), logits[:, 2]], dim=1)


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
