"""Intents that users define: a few examples each become a head in seconds, with a calibrated "none of these".

The head is a multinomial logistic regression on whitened unit vectors, with many examples another on n-grams
(``workers.model.ngrams``) as far as it helps on a held-out fold, and a gate: how likely it is that a text belongs to
any intent at all, from the energy of its logits (Liu et al. 2020, "Energy-based out-of-distribution detection"). The gate is
fitted on texts whose whole intent was held out, so it needs no examples of what nobody asked for, though it uses them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from pipeline.adapters.yaml_text import read_yaml
from pipeline.core.text import is_unicode, readable
from pipeline.errors import ConfigurationError, ModelError
from workers.model import ngrams
from workers.model.ngrams import BUCKETS, NGrams
from workers.model.shipped import Shipped

NONE: Final = "none"
FOLDS: Final = 5
PENALTIES: Final = (1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
SCALE: Final = 10.0
_ITERATIONS: Final = 80
MANY_TEXTS: Final = 2_000


@dataclass(frozen=True, slots=True)
class IntentSet:
    """Examples by intent, as an encoder reads them, and examples of no intent."""

    name: str
    examples: dict[str, tuple[str, ...]]
    none: tuple[str, ...]

    def rows(self) -> tuple[list[str], list[str]]:
        """Return texts and labels for ``fit``, the texts without an intent under NONE."""
        pairs = [(text, intent) for intent, texts in self.examples.items() for text in texts]
        pairs += [(text, NONE) for text in self.none]
        return with_names([text for text, _ in pairs], [intent for _, intent in pairs])


@dataclass(frozen=True, slots=True)
class Examples:
    """Texts to fit on. vectors: (n, 384) whitened; classes: (n,)."""

    vectors: Tensor
    grams: NGrams
    classes: Tensor

    def where(self, kept: Tensor) -> "Examples":
        """Return those of a mask (n,)."""
        return Examples(self.vectors[kept], self.grams.where(kept), self.classes[kept])


@dataclass(frozen=True, slots=True)
class IntentHead:
    """Whitened unit vectors (n, 384) and n-grams to probabilities (n, k), the last one of none of these.

    weight: (j, 384) and bias: (j,) of the intents, and of NONE where it had examples. gate: slope and offset on the energy.
    table: (BUCKETS, j) what n-grams add to the logits, or None where they add nothing; the gate goes by the vector alone.
    """

    names: tuple[str, ...]
    weight: Tensor
    bias: Tensor
    gate: Tensor
    table: Tensor | None = None

    def told(self, grams: NGrams) -> Tensor:
        """Return what the n-grams of texts add to the logits, (n, j)."""
        return grams.rows(self.table) if self.table is not None else self.bias.new_zeros((len(grams), len(self.bias)))

    def __call__(self, vectors: Tensor, told: Tensor | float = 0.0) -> Tensor:
        """Return the probabilities."""
        known = len(self.names) - 1
        logits = self.logits(vectors)
        inside = torch.sigmoid(self.gate[0] * energy(logits[:, :known]) + self.gate[1])
        shares = torch.softmax(logits + told, 1)[:, :known] * inside[:, None]
        return torch.cat([shares, (1 - shares.sum(1, keepdim=True)).clamp(min=0)], dim=1)

    def logits(self, vectors: Tensor) -> Tensor:
        """Return the logits of the classes that had examples."""
        return SCALE * vectors @ self.weight.T + self.bias

    def to(self, device: torch.device) -> "IntentHead":
        """Return the head on a device."""
        table = None if self.table is None else self.table.to(device)
        return IntentHead(self.names, self.weight.to(device), self.bias.to(device), self.gate.to(device), table)


def energy(logits: Tensor) -> Tensor:
    """Return how strongly any class speaks, (n,)."""
    return torch.logsumexp(logits, dim=1)


def read_intents(path: Path) -> IntentSet:
    """Return the intents of a YAML file: ``intents: {name: [examples]}`` and perhaps ``none: [examples]``.

    Raises ConfigurationError for a wrong key, a name that is no text, fewer than two intents, an intent with fewer than two
    different examples, or an example that stands under two intents.
    """
    document = read_yaml(path)
    if not isinstance(document, dict) or (extra := set(document) - {"intents", "none"}):
        wrong = ", ".join(sorted(map(str, extra))) if isinstance(document, dict) else type(document).__name__
        raise ConfigurationError(f"{path}: {wrong}: the keys are intents and none")
    intents = document.get("intents")
    if not isinstance(intents, dict) or len(intents) < 2:
        raise ConfigurationError(f"{path}: intents needs at least two names, each with a list of examples")
    for name in intents:
        _refuse_no_name(path, name)
    examples = {name: _examples(path, name, texts, at_least=2) for name, texts in intents.items()}
    if NONE in examples:
        raise ConfigurationError(f"{path}: intents.{NONE}: the name is taken; put these examples under the key {NONE}")
    none = _examples(path, NONE, [] if document.get("none") is None else document["none"], at_least=0)
    _refuse_shared(path, examples | {NONE: none})
    return IntentSet(path.stem, examples, none)


def with_names(texts: Sequence[str], labels: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return texts and labels, and each intent's name, its words apart, as one more example: it says what the others share."""
    spoken = {name: readable(name.replace("_", " ")) for name in sorted(set(labels) - {NONE})}
    telling = {name: text for name, text in spoken.items() if any(map(str.isalpha, text))}
    return [*texts, *telling.values()], [*labels, *telling]


def names_of(labels: Sequence[str], where: str = "intents") -> tuple[str, ...]:
    """Return the intents among the labels of texts. Raises ConfigurationError for fewer than two, or with one example."""
    counts = Counter(labels)
    names = tuple(sorted(counts.keys() - {NONE}))
    short = [name for name in names if counts[name] < 2]
    if short or len(names) < 2:
        found = f"{', '.join(short)}: one example" if short else f"{len(names)} intent"
        raise ConfigurationError(f"{where}: {found}; at least two intents with two examples each, better ten")
    return names


def fit(vectors: Tensor, grams: NGrams, labels: Sequence[str]) -> IntentHead:
    """Return the head for whitened unit vectors (n, 384), n-grams and labels of texts; NONE marks texts without an intent.

    Raises as ``names_of``.
    """
    names = names_of(labels)
    place = {name: index for index, name in enumerate((*names, NONE))}
    classes = torch.tensor([place[label] for label in labels])
    outputs = len(names) + int(NONE in labels)
    penalty = _best_penalty(vectors, classes, outputs)
    weight, bias = _regress(vectors, classes, outputs, penalty)
    gate = _fit_gate(vectors, classes, outputs, len(names), penalty)
    share = _best_share(Examples(vectors, grams, classes), outputs, penalty) if len(labels) >= MANY_TEXTS else 0.0
    table = share * ngrams.regress(grams, classes, outputs) if share else None
    return IntentHead((*names, NONE), weight, bias, gate, table)


def tensors_of(head: IntentHead) -> dict[str, Tensor]:
    """Return the tensors of a head for ``shipped.save``; the names go into the record."""
    tensors = {"intents.weight": head.weight, "intents.bias": head.bias, "intents.gate": head.gate}
    if head.table is not None:
        buckets = head.table.any(1).nonzero().squeeze(1)
        tensors |= {"intents.buckets": buckets.to(torch.int32), "intents.table": head.table[buckets].half()}
    return tensors


def load_intents(trained: Shipped) -> IntentHead:
    """Return the head that stands in shipped weights. Raises ModelError when it does not fit."""
    names, own = trained.intents, trained.part("intents")
    try:
        table = _whole_table(own["buckets"].long(), own["table"].float()) if "table" in own else None
        head = IntentHead(names, own["weight"].float(), own["bias"].float(), own["gate"].float(), table)
    except KeyError as error:
        raise ModelError(f"the intent head lacks {error}; train again or reinstall") from error
    if head.weight.shape[0] not in (len(names), len(names) - 1):
        raise ModelError(f"the intent head has {head.weight.shape[0]} rows for {len(names)} names; train again or reinstall")
    return head


def _whole_table(buckets: Tensor, rows: Tensor) -> Tensor:
    return torch.zeros((BUCKETS, rows.shape[1])).index_copy(0, buckets, rows)


def _refuse_no_name(path: Path, name: object) -> None:
    """Raise ConfigurationError for what is no text to YAML, as yes, no, null and numbers, and for what no file can hold."""
    if not isinstance(name, str):
        raise ConfigurationError(f"{path}: intents: a name that YAML reads as {name!r}; put it in quotes, as it is to be called")
    if not name.strip() or not is_unicode(name):
        raise ConfigurationError(f"{path}: intents: {name!r} is no name; give one in letters")


def _examples(path: Path, name: str, texts: object, at_least: int) -> tuple[str, ...]:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(f"{path}: {name}: give a list of example sentences")
    own = [readable(text) for text in texts]
    if "" in own:
        raise ConfigurationError(f"{path}: {name}: example {own.index('') + 1} holds no text")
    doubled = sorted({text for text in own if own.count(text) > 1})
    if doubled:
        raise ConfigurationError(f"{path}: {name}: {doubled[0]!r} stands there twice")
    if len(own) < at_least:
        raise ConfigurationError(f"{path}: {name}: {len(own)} example; give at least {at_least}, better ten")
    return tuple(own)


def _refuse_shared(path: Path, examples: Mapping[str, Sequence[str]]) -> None:
    owner: dict[str, str] = {}
    for name, texts in examples.items():
        for text in texts:
            if text in owner:
                raise ConfigurationError(f"{path}: {text!r} stands under both {owner[text]} and {name}")
            owner[text] = name


def _regress(vectors: Tensor, classes: Tensor, outputs: int, penalty: float) -> tuple[Tensor, Tensor]:
    weight = torch.zeros((outputs, vectors.shape[1]), requires_grad=True)
    bias = torch.zeros(outputs, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = cross_entropy(SCALE * vectors @ weight.T + bias, classes) + penalty * SCALE**2 * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()


def _best_penalty(vectors: Tensor, classes: Tensor, outputs: int) -> float:
    """Return the penalty with the least loss on held-out folds; of many texts one fold is enough."""
    folds = _folds(classes, outputs)
    losses = []
    for penalty in PENALTIES:
        total = 0.0
        for fold in range(FOLDS if len(classes) < MANY_TEXTS else 1):
            weight, bias = _regress(vectors[folds != fold], classes[folds != fold], outputs, penalty)
            logits = SCALE * vectors[folds == fold] @ weight.T + bias
            total += float(cross_entropy(logits, classes[folds == fold], reduction="sum"))
        losses.append(total)
    return PENALTIES[int(np.argmin(losses))]


def _best_share(examples: Examples, outputs: int, penalty: float) -> float:
    """Return how much of the n-grams' logits, added to the vector's, has the least loss on a held-out fold."""
    folds = _folds(examples.classes, outputs)
    known, rest = examples.where(folds > 0), examples.where(folds == 0)
    weight, bias = _regress(known.vectors, known.classes, outputs, penalty)
    logits = SCALE * rest.vectors @ weight.T + bias
    told = rest.grams.rows(ngrams.regress(known.grams, known.classes, outputs))
    losses = [float(cross_entropy(logits + share * told, rest.classes)) for share in SHARES]
    return SHARES[int(np.argmin(losses))]


def _fit_gate(vectors: Tensor, classes: Tensor, outputs: int, known: int, penalty: float) -> Tensor:
    """Return slope and offset that tell energies of held-out texts from energies of held-out intents and of NONE."""
    folds = _folds(classes, outputs)
    inside, outside = [], []
    for fold in range(min(FOLDS, known)):
        left_out = classes % min(FOLDS, known) == fold
        unknown = (left_out & (classes < known)) | ((classes == known) & (folds == fold))
        test = (folds == fold) & ~left_out & (classes < known)
        kept = ~unknown & ~test
        present = torch.unique(classes[kept])
        weight, bias = _regress(vectors[kept], torch.searchsorted(present, classes[kept]), len(present), penalty)
        some = energy((SCALE * vectors @ weight.T + bias)[:, : int((present < known).sum())])
        inside.append(some[test])
        outside.append(some[unknown])
    return _logistic(torch.cat(inside), torch.cat(outside))


def _logistic(inside: Tensor, outside: Tensor) -> Tensor:
    """Return slope and offset of the logistic curve between two samples, each weighing one half."""
    values = torch.cat([inside, outside])
    centre, spread = values.mean(), values.std().clamp(min=1e-6)
    parameters = torch.zeros(2, requires_grad=True)
    optimiser = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        marks = [parameters[0] * (part - centre) / spread + parameters[1] for part in (inside, outside)]
        softplus = torch.nn.functional.softplus
        loss = softplus(-marks[0]).mean() + softplus(marks[1]).mean() + 1e-3 * parameters[0].square()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    slope, offset = parameters.detach()
    return torch.stack([slope / spread, offset - slope * centre / spread])


def _folds(classes: Tensor, outputs: int) -> Tensor:
    """Return a fold for each text; every class is spread over the folds in the order of its texts."""
    folds = torch.empty_like(classes)
    for index in range(outputs):
        here = (classes == index).nonzero().reshape(-1)
        folds[here] = torch.arange(len(here)) % FOLDS
    return folds
