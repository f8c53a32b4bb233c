"""How much the words of each kind of text count beside the trunk: fitted on dev texts, every set of them counting alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from workers.forward.heads import SentimentHead
from workers.model.ngrams import of_tokens
from workers.model.wording import COLUMNS, Wording, load_wording, said, tensors_of
from workers.training import wording_fit
from workers.training.calibration import asked, logits_of, without_neutral
from workers.training.config import TrainConfig
from workers.training.data import Prepared
from workers.training.loop import DevAnswers
from workers.training.tuned import is_intent

USUAL: Final = 0.3  # where no dev texts say otherwise
_TIE: Final = 1e-4  # what it costs to be away from the usual, squared and in logarithms: a few texts alone move nothing far
_ITERATIONS: Final = 100
Answers = Mapping[int, DevAnswers]


@dataclass(frozen=True, slots=True)
class Beside:
    """One set's dev texts. logits: (n, 3) of the trunk; told: (n, kinds * 4) of the words, counting in full; classes: (n,)."""

    logits: Tensor
    told: Tensor
    classes: Tensor
    two_class: bool


class Worded(NamedTuple):
    """What the words say, as it is shipped; how much each kind's count; the answers for dev texts with that beside them."""

    tensors: dict[str, Tensor]
    shares: dict[str, float]
    answers: dict[int, DevAnswers]


def worded(config: TrainConfig, head: SentimentHead, sets: Sequence[Prepared], answers: Answers) -> Worded:
    """Return what the words of training texts say beside the trunk's answers for dev texts."""
    whole = wording_fit.fit(sets, config.seed)
    if config.word_share is None:
        shares = fit_shares(_beside(head, asked(sets, answers), load_wording(tensors_of(whole))), len(whole))
    else:
        shares = torch.full((len(whole),), config.word_share)
    columns = per_column(shares).view(-1, COLUMNS)
    words = tensors_of({kind: table * own for (kind, table), own in zip(whole.items(), columns, strict=True)})
    told = dict(zip(whole, [round(one, 4) for one in shares.tolist()], strict=True))
    return Worded(words, told, _with_words(sets, answers, load_wording(words)))


def _beside(head: SentimentHead, pairs: Sequence[tuple[Prepared, DevAnswers]], whole: Wording) -> list[Beside]:
    return [
        Beside(logits_of(head, own), whole.told(of_tokens(own.tokens)), torch.from_numpy(own.truth), one.two_class)
        for one, own in pairs
    ]


def _with_words(sets: Sequence[Prepared], answers: Answers, words: Wording) -> dict[int, DevAnswers]:
    return {
        index: own if is_intent(sets[index]) else replace(own, aside=words(of_tokens(own.tokens)))
        for index, own in answers.items()
    }


def fit_shares(sets: Sequence[Beside], kinds: int) -> Tensor:
    """Return the share of each kind, (kinds,), of least log loss; each set has a temperature of its own meanwhile."""
    away, warmth = (torch.zeros(count, requires_grad=True) for count in (kinds, len(sets)))
    optimiser = torch.optim.LBFGS([away, warmth], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        columns = per_column(USUAL * away.exp())
        losses = [_loss(one, columns, own) for one, own in zip(sets, warmth.exp(), strict=True)]
        loss = torch.stack(losses).mean() + _TIE * (away.square().sum() + warmth.square().sum())
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    if sets and kinds:
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return USUAL * away.detach().exp()


def per_column(shares: Tensor) -> Tensor:
    """Return what each column of the kinds' tables is to be multiplied by, (kinds * 4,): how a kind looks stays as it is."""
    return torch.stack([torch.ones_like(shares), shares, shares, shares], dim=1).flatten()


def _loss(one: Beside, columns: Tensor, warmth: Tensor) -> Tensor:
    logits = (one.logits + said(one.told * columns)) * warmth
    return cross_entropy(without_neutral(logits) if one.two_class else logits, one.classes)
