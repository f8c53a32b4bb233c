"""What a training run is: one YAML file. An unknown or wrong key is an error that names it."""

from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from pipeline.adapters.yaml_text import read_yaml
from pipeline.errors import ConfigurationError


class Part(BaseModel):
    """A group of keys; an unknown one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSet(Part):
    """One labelled file and its part in every batch. Paths are relative to the data folder.

    task: ``sentiment``, or ``intent`` (a head of its own that only shapes the trunk). share: relative number of texts in a
    batch. Two-class sentiment files are found by their labels; their neutral logit is masked. kind: sets of one kind of text
    share what their words say (``workers.model.wording``); a set without one has no part in that. taught: what teachers say of a
    sentiment set's training texts (``workers.training.teaching``), a path from the recipe's own folder.
    """

    name: str
    task: Literal["sentiment", "intent"]
    train: str
    dev: str | None = None
    share: float = Field(gt=0)
    kind: str | None = Field(default=None, pattern=r"^[a-z0-9_]+$")
    metric: Literal["accuracy", "macro_recall", "macro_f1"] = "accuracy"
    taught: str | None = None

    @model_validator(mode="after")
    def _taught_sentiment(self) -> "DataSet":
        """Refuse a teacher of intents: what it says is never read."""
        if self.taught and self.task != "sentiment":
            raise ValueError(f"taught = {self.taught!r}: a teacher speaks of sentiment; leave it out of an intent set")
        return self


class Lora(Part):
    """The low-rank term: its rank, its scale alpha / rank, and how many layers from the top have one."""

    rank: int = Field(default=32, gt=0)
    alpha: float = Field(default=64.0, gt=0)
    layers: int = Field(default=9, gt=0)


class Augment(Part):
    """Altered texts, tried first: two runs of ``trial_steps`` steps, without and with; it stays on only if dev gains.

    share: of the texts that are altered. casing, punctuation: chance that an altered text loses its capitals, its
    punctuation. words, characters: chance of each to be dropped.
    """

    trial_steps: int = Field(gt=0)
    share: float = Field(default=0.3, gt=0, le=1)
    casing: float = Field(default=0.3, ge=0, le=1)
    punctuation: float = Field(default=0.3, ge=0, le=1)
    words: float = Field(default=0.05, ge=0, lt=1)
    characters: float = Field(default=0.02, ge=0, lt=1)


class TrainConfig(Part):
    """A training run. One step sees ``accumulate`` batches of ``batch_tokens`` tokens.

    average: decay of the running mean of the weights that is judged and shipped; 0 ships the last ones. trunk_dropout: share
    of a tuned layer's inputs that training leaves out (of the low-rank term's alone, in lora mode). residual_dropout: share of
    what a tuned block adds to its input that training leaves out, in lora mode. consistency: weight of how far apart two
    passes over one text are (``losses``); each text stands twice in its batch then. keep: share of the trunk's change
    that ships, the rest goes back to the base (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
    word_share: how much what the words say counts beside the trunk. taught_share: how much of a text's target is what a teacher
    says of it, where one does; the rest is its label (Hinton et al. 2015, "Distilling the knowledge in a neural network").
    device: auto, cpu, cuda or cuda:N. checkpoint_every: steps between two states that a killed run goes on from;
    each look at dev leaves one too.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    mode: Literal["frozen", "lora", "full"]
    data: tuple[DataSet, ...] = Field(min_length=1)
    seed: int = Field(default=7, ge=0, lt=2**32)
    data_cut_off: str = "unknown"
    steps: int = Field(gt=0)
    batch_tokens: int = Field(default=2048, gt=0)
    accumulate: int = Field(default=1, gt=0)
    max_tokens: int = Field(default=80, ge=8, le=512)
    precision: Literal["fp32", "bf16"] = "bf16"
    device: str = "auto"
    threads: int = Field(default=1, gt=0, le=1024)
    lora: Lora = Lora()
    augment: Augment | None = None
    average: float = Field(default=0.0, ge=0, lt=1)
    trunk_dropout: float = Field(default=0.0, ge=0, lt=1)
    residual_dropout: float = Field(default=0.0, ge=0, lt=1)
    consistency: float = Field(default=0.0, ge=0)
    keep: float = Field(default=1.0, gt=0, le=1)
    word_share: float = Field(default=0.3, ge=0)
    taught_share: float = Field(default=0.5, ge=0, le=1)
    trunk_rate: float = Field(default=5e-4, ge=0)
    head_rate: float = Field(default=1e-3, ge=0)
    weight_decay: float = Field(default=0.01, ge=0, le=1)
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    class_balance: float = Field(default=0.5, ge=0, le=1)
    distillation: float = Field(default=1.0, ge=0)
    distil_every: int = Field(default=2, gt=0)
    intent_weight: float = Field(default=0.5, ge=0)
    evaluate_every: int = Field(default=500, gt=0)
    checkpoint_every: int = Field(default=100, gt=0)
    patience: int = Field(default=6, gt=0)
    dev_rows: int = Field(default=500, gt=0)

    @model_validator(mode="after")
    def _room_for_a_text(self) -> "TrainConfig":
        """Refuse batches that the longest text alone overfills."""
        if self.batch_tokens < self.max_tokens:
            raise ValueError(
                f"batch_tokens = {self.batch_tokens}; a text has up to max_tokens = {self.max_tokens}, give no fewer"
            )
        return self

    @property
    def forms(self) -> int:
        """Return how often a text stands in its batch."""
        return 2 if self.consistency else 1

    @field_validator("data")
    @classmethod
    def _named_once(cls, sets: tuple[DataSet, ...]) -> tuple[DataSet, ...]:
        """Refuse two sets of one name: dev scores go by it."""
        names = [one.name for one in sets]
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{', '.join(doubled)} stands twice; give each set a name of its own")
        return sets


def read_config(path: Path) -> TrainConfig:
    """Return the run a YAML file describes. Raises ConfigurationError that names each wrong key."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: holds no mapping of keys to values")
    try:
        return TrainConfig(**values)
    except (ValidationError, TypeError) as error:
        raise ConfigurationError(f"{path}: {_readable(error)}") from error


def _readable(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return str(error)
    return "; ".join(_said(one) for one in error.errors())


def _said(one: ErrorDetails) -> str:
    place, name = ".".join(map(str, one["loc"])), str(one["loc"][-1] if one["loc"] else "")
    if one["type"] == "missing":
        return f"{place} is missing"
    if one["type"] == "extra_forbidden":
        known = [key for part in (TrainConfig, DataSet, Lora, Augment) for key in part.model_fields]
        near = get_close_matches(name, known, 1)
        return f"{place} = {one['input']!r}: unknown key{f'; did you mean {near[0]}?' if near else ''}"
    if one["type"] == "value_error":
        return f"{place}: ".removeprefix(": ") + one["msg"].removeprefix("Value error, ")
    return f"{place} = {one['input']!r}: {one['msg']}"
