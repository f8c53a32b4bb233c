"""A teacher: another pre-trained transformer, fine-tuned whole on the sentiment sets of a run, one head a set."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.errors import ModelError
from workers.batching import BatchLimits, TokenBatcher
from workers.encoder import SENTIMENTS, TokenIds
from workers.training.data import NEUTRAL, Prepared
from workers.training.loop import GRADIENT_NORM, Advance
from workers.training.losses import NEVER

DROPOUT: Final = 0.1
WARM_UP: Final = 0.1
_FIRST_POSITION: Final = 2
_POOL: Final = 40  # batches that are sorted by length together
Place = tuple[int, int]  # a set and a row of it


@dataclass(frozen=True, slots=True)
class Course:
    """How a teacher learns. max_tokens: of a text; batch_tokens: of a batch, padding included; rate: of AdamW at its highest."""

    folds: int = 3
    epochs: int = 3
    rate: float = 1e-4
    batch_tokens: int = 4_096
    max_tokens: int = 160
    seed: int = 0


class TeacherTokenizer:
    """Cuts texts as the teacher's own ``tokenizer.json`` says, and no longer than it has positions.

    Raises ModelError for a folder without one that can be read.
    """

    def __init__(self, folder: Path, max_tokens: int) -> None:
        from tokenizers import Tokenizer

        try:
            self._cut = Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the tokenizers package raises nothing narrower
            raise ModelError(
                f"{folder / 'tokenizer.json'}: no tokenizer that can be read ({error}); name a teacher's folder"
            ) from error
        self._cut.no_padding()
        self._cut.enable_truncation(min(max_tokens, _positions(folder)))

    def __call__(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the ids of each text, the teacher's special tokens included."""
        return [np.array(found.ids, dtype=np.int32) for found in self._cut.encode_batch_fast(list(texts))]


def _positions(folder: Path) -> int:
    """Return how many tokens of a text the transformer of a folder can tell apart; RoBERTa's kind counts from 2 on."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        return int(config["max_position_embeddings"]) - _FIRST_POSITION
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / 'config.json'}: no teacher that transformers can read ({error!r})") from error


class Teacher(nn.Module):
    """The transformer of a folder under ``transformers``' names, and its heads. Raises ModelError for a folder without one."""

    ruled_out: Tensor

    def __init__(self, folder: Path, sets: Sequence[Prepared], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.transformer = _transformer(folder)
        width = self.transformer.config.hidden_size
        self.middle = nn.Linear(2 * width, width)
        self.heads = nn.Linear(width, len(sets) * len(SENTIMENTS))
        self.drop = nn.Dropout(DROPOUT)
        two_class, neutral = torch.tensor([one.two_class for one in sets]), torch.arange(len(SENTIMENTS)) == NEUTRAL
        self.register_buffer("ruled_out", NEVER * torch.outer(two_class.float(), neutral.float()))

    def forward(self, ids: Tensor, mask: Tensor, owners: Tensor) -> Tensor:
        """Return the logits (n, 3) by the head of each text's set; neutral is ruled out where the set knows none."""
        rows = self.transformer(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        mean = (rows * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        middle = self.drop(torch.tanh(self.middle(self.drop(torch.cat([rows[:, 0], mean], 1)))))
        logits = self.heads(middle).view(len(ids), -1, len(SENTIMENTS))[torch.arange(len(ids), device=ids.device), owners]
        found: Tensor = logits.float() + self.ruled_out[owners]
        return found


def _transformer(folder: Path) -> Any:
    from transformers import AutoModel
    from transformers.utils import logging

    # A pooler that is missing, which nothing here asks for, is no news.
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        return AutoModel.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    except Exception as error:  # a config it does not know ends in whatever its code makes of it
        raise ModelError(f"{folder}: no teacher that transformers can read ({error})") from error


def learn(teacher: Teacher, sets: Sequence[Prepared], places: Sequence[Place], course: Course, advance: Advance) -> None:
    """Fine-tune the teacher on some texts; ``advance`` hears how many are done."""
    device = next(teacher.parameters()).device
    batches = [batch for epoch in range(course.epochs) for batch in _shuffled(sets, places, course, epoch)]
    optimiser = torch.optim.AdamW(teacher.parameters(), lr=course.rate, betas=(0.9, 0.98), weight_decay=0.01)
    rise_and_fall = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate_factor(step, len(batches)))
    weights = torch.stack([torch.from_numpy(one.weights) for one in sets]).to(device)
    teacher.train()
    for batch in batches:
        classes = torch.tensor([int(sets[index].classes[row]) for index, row in batch], device=device)
        owners = torch.tensor([index for index, _ in batch], device=device)
        each = cross_entropy(_read(teacher, [sets[index].tokens[row] for index, row in batch], owners), classes, reduction="none")
        (each * weights[owners, classes]).mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(teacher.parameters(), GRADIENT_NORM)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        rise_and_fall.step()
        advance(len(batch))


def _rate_factor(step: int, total: int) -> float:
    warm = WARM_UP * total + 1
    return min((step + 1) / warm, max(0.0, (total - step) / (total - warm + 1)))


def chances(teacher: Teacher, index: int, tokens: Sequence[TokenIds], batch_tokens: int) -> npt.NDArray[np.float32]:
    """Return what the teacher's head of one set says of texts, (n, 3) float32."""
    found = np.zeros((len(tokens), len(SENTIMENTS)), dtype=np.float32)
    device = next(teacher.parameters()).device
    teacher.eval()
    with torch.inference_mode():
        for batch in _even(list(range(len(tokens))), [len(ids) for ids in tokens], batch_tokens):
            owners = torch.full((len(batch),), index, device=device)
            found[batch] = torch.softmax(_read(teacher, [tokens[row] for row in batch], owners), 1).cpu().numpy()
    return found


def _read(teacher: Teacher, tokens: Sequence[TokenIds], owners: Tensor) -> Tensor:
    ids = torch.zeros(len(tokens), max(map(len, tokens)), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, own in enumerate(tokens):
        ids[row, : len(own)] = torch.from_numpy(own)
        mask[row, : len(own)] = 1
    with torch.autocast(owners.device.type, torch.bfloat16):
        logits: Tensor = teacher(ids.to(owners.device), mask.to(owners.device), owners)
    return logits


def _shuffled(sets: Sequence[Prepared], places: Sequence[Place], course: Course, epoch: int) -> list[list[Place]]:
    """Return the batches of one epoch: texts of like length together, in an order of chance."""
    draw = np.random.default_rng((course.seed, epoch))
    order = [places[index] for index in draw.permutation(len(places))]
    lengths = [len(sets[index].tokens[row]) for index, row in order]
    pool = _POOL * course.batch_tokens // max(1, sum(lengths) // max(1, len(lengths)))
    found = [
        batch
        for start in range(0, len(order), pool)
        for batch in _even(order[start : start + pool], lengths[start : start + pool], course.batch_tokens)
    ]
    return [found[index] for index in draw.permutation(len(found))]


def _even(values: list[Any], lengths: Sequence[int], batch_tokens: int) -> Iterator[list[Any]]:
    batcher: TokenBatcher[Any] = TokenBatcher(BatchLimits(batch_tokens))
    for value, length in zip(values, lengths, strict=True):
        batcher.add(value, length)
    return (list(batch.values) for batch in batcher.flush())
