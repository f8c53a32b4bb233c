"""The encoder: a multilingual transformer, its adapter merged in, and three answers from one forward pass.

The answer for a text is the same bits whatever else is in the batch: rows are packed, never padded to their neighbours
(``forward.packing``), layers are steady in the number of rows (``forward.steady``), heads run on blocks of a constant shape,
and on a CPU one thread does the sums.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np
import structlog
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.errors import ConfigurationError, ModelError
from pipeline.settings import EncoderSettings
from workers.encoder import DIMENSIONS, Encodings, TokenIds
from workers.forward import lora, pooling
from workers.forward.ahead import TOKENS
from workers.forward.attention import HEAD, compiled
from workers.forward.graphs import PackedTrunk, to_host
from workers.forward.heads import SentimentHead, Whitening, load_sentiment, load_whitening
from workers.forward.onednn import is_offered, onednn_linear
from workers.forward.packed import packed_trunks
from workers.forward.packing import Bin, pack
from workers.forward.quantise import int8_linear, typical_inputs
from workers.forward.sending import send
from workers.forward.steady import steady_linear
from workers.forward.trunk import LinearFactory, Sizes, Trunk, build, float_linear
from workers.model import model_store, shipped
from workers.model.intents import IntentHead, load_intents
from workers.model.ngrams import NGrams, of_rows, of_tokens
from workers.model.revisions import revision_of, space_of
from workers.model.tokenizer import TextTokenizer
from workers.model.wording import Wording, load_wording, said

Mode = Literal["fp32", "int8", "bf16"]
MODES: Final[tuple[Mode, ...]] = ("fp32", "int8", "bf16")
CPU_ROWS: Final[Mapping[Mode, int]] = {"fp32": 512, "int8": 1024, "bf16": 2048}  # of a bin, the fastest of 256 to 2,048
HEAD_ROWS: Final = {"cpu": 64, "cuda": 4096}
BINS_AT_ONCE: Final = 4
TRIAL_LENGTHS: Final = (3, 16, 24, 65, 130, 257)  # across the blocks of every kernel
TRIAL_COSINE: Final = 0.99
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything an encoder is made of."""

    trunk: Trunk
    whitening: Whitening
    sentiment: SentimentHead
    wording: Wording
    intents: IntentHead
    tokenizer: TextTokenizer


class TransformerEncoder:
    """Texts to vectors, sentiment and intents; implements ``workers.encoder.Encoder``."""

    def __init__(self, model: str, revision: str, space: str, parts: Parts, rows: int) -> None:
        self._model = model
        self._revision = revision
        self._space = space
        self._parts = parts
        self._rows = rows
        candidates = packed_trunks(parts.trunk, parts.sentiment, rows, parts.tokenizer.max_tokens)
        self._packed = next(filter(self.agrees_with, candidates), None)

    @property
    def model(self) -> str:
        """Return the model's name."""
        return self._model

    @property
    def revision(self) -> str:
        """Return what identifies weights, heads, whitening and number format together."""
        return self._revision

    @property
    def space(self) -> str:
        """Return the name of the space that the vectors lie in."""
        return self._space

    @property
    def device(self) -> torch.device:
        """Return where the sums are done."""
        return self._parts.trunk.device

    @property
    def at_once(self) -> int:
        """Return how many tokens are worth giving it together: on a GPU some bins, so that it works while the host does."""
        return BINS_AT_ONCE * self._packed.rows if self._packed is not None else TOKENS

    @property
    def bin_tokens(self) -> int:
        """Return how many tokens one call of the trunk takes."""
        return self._rows

    @property
    def intent_names(self) -> tuple[str, ...]:
        """Return the intents in the order of the answers."""
        return self._parts.intents.names

    def tokenize(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the token ids of each normal form, cut at the model's length."""
        return self._parts.tokenizer(texts)

    def encode(self, tokens: Sequence[TokenIds]) -> Encodings:
        """Return the answers for one batch. Raises MemoryError when it does not fit the device."""
        return self.start(tokens)()

    def start(self, tokens: Sequence[TokenIds]) -> Callable[[], Encodings]:
        """Begin with a batch; return a call that waits for its answers. Both raise MemoryError when it does not fit."""
        with _memory_errors(), torch.inference_mode():
            answers = to_host(self._answers(*self._read(tokens)))

        def wait() -> Encodings:
            with _memory_errors():
                vectors, sentiment, intents = answers()
                return Encodings(vectors, sentiment, intents, self.intent_names)

        return wait

    def agrees_with(self, candidate: PackedTrunk) -> bool:
        """Return whether a trunk by graphs gives the answers of the plain one; a GPU without its kernels is no reason to end."""
        limit = self._parts.tokenizer.max_tokens
        trial: list[TokenIds] = [np.arange(4, 4 + min(length, limit), dtype=np.int32) for length in TRIAL_LENGTHS]
        with torch.inference_mode():
            plain = self._features(trial)
            try:
                near = float(torch.cosine_similarity(candidate(send(trial, self.device)), plain).min())
            except RuntimeError as error:
                log.warning("graphs_unusable", reason=str(error), effect="the plain trunk serves, more slowly")
                return False
        if not near > TRIAL_COSINE:
            log.warning("graphs_unusable", reason=f"cosine {near:.4f} to the plain trunk", effect="the plain trunk serves")
        return near > TRIAL_COSINE

    def bare_trunk(self, tokens: Sequence[TokenIds]) -> Callable[[], None]:
        """Return a call that runs the trunk on texts laid out beforehand, for measuring. Raises ValueError without graphs."""
        if self._packed is None:
            raise ValueError("the bare trunk is measured on a GPU with its graphs only")
        return self._packed.prepared(send(tokens, self.device))

    def seen(self, tokens: Sequence[TokenIds]) -> Tensor:
        """Return what the sentiment head makes of texts before it answers, (n, units), for fitting what is added to it."""
        with torch.inference_mode():
            return self._parts.sentiment.seen(self._read(tokens)[0]).cpu()

    def _read(self, tokens: Sequence[TokenIds]) -> tuple[Tensor, NGrams]:
        """Return features (texts, 2 * hidden), whose first half are the means, and n-grams, both on the device."""
        if self._packed is None:
            return self._features(tokens), of_tokens(tokens).to(self.device)
        sent = send(tokens, self.device)
        return self._packed(sent), of_rows(sent.ids, sent.starts, sent.pairs)

    def _features(self, tokens: Sequence[TokenIds]) -> Tensor:
        features = torch.empty((len(tokens), 2 * DIMENSIONS), device=self.device)
        for packed in pack(tokens, self._rows):
            self._pool_bin(packed, features)
        return features

    def _pool_bin(self, packed: Bin, features: Tensor) -> None:
        rows, spans = self._parts.trunk(packed)
        for span in spans:
            where = pooling.present(span, rows).float()
            padded = pooling.padded(rows, span).float()
            mean = pooling.mean(padded, where)
            features[span.members.to(features.device)] = self._parts.sentiment.features(padded, where, mean)

    def _answers(self, features: Tensor, grams: NGrams) -> list[Tensor]:
        found = [features.new_empty((len(features), width)) for width in (DIMENSIONS, 3, len(self.intent_names))]
        rows = HEAD_ROWS[features.device.type]
        words, asked = self._parts.wording.told(grams), self._parts.intents.told(grams)
        for start in range(0, len(features), rows):
            stop = min(start + rows, len(features))
            white = self._parts.whitening(_block(features[start:stop, :DIMENSIONS], rows))
            aside = said(_block(words[start:stop], rows))
            logits = self._parts.sentiment(_block(features[start:stop], rows), aside)
            intents = self._parts.intents(white, _block(asked[start:stop], rows))
            for target, part in zip(found, (white, torch.softmax(logits, 1), intents), strict=True):
                target[start:stop] = part[: stop - start]
        return found


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Raise MemoryError for what torch says of a full memory."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "out of memory" in str(error):
            raise MemoryError(str(error)) from error
        raise


def load_encoder(settings: EncoderSettings, cache: Path, mode: Mode | None = None) -> TransformerEncoder:
    """Return the encoder that the settings describe, every file checked against its hash.

    Sets torch to one thread on a CPU: scale-out is by processes. Raises ModelError, or ConfigurationError for a device or
    mode that this machine lacks.
    """
    device = find_device(settings.device)
    chosen = mode or choose_mode(settings.mode, device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    folder, manifest = model_store.verified(settings.model, cache)
    trained = shipped.load(settings.weights or shipped.SHIPPED)
    rows = CPU_ROWS[chosen] if device.type == "cpu" else max(settings.batch_tokens, settings.max_tokens)
    dtype = torch.bfloat16 if chosen == "bf16" else torch.float32
    adapter = {name: tensor.to(device) for name, tensor in trained.part("adapter").items()}
    weights = _trunk_weights(folder / "model.safetensors", device)

    def make(linear: LinearFactory) -> Trunk:
        return build(weights, read_sizes(folder), lora.merging(adapter, linear), dtype)

    trunk = make(_layers(chosen, device, rows, make))
    if device.type == "cpu" and trunk.layers[0].heads * HEAD == DIMENSIONS:
        trunk.attending = compiled(dtype)
    parts = Parts(
        trunk=trunk,
        whitening=load_whitening(trained.part("whitening")).to(device),
        sentiment=load_sentiment(trained.part("sentiment")).to(device),
        wording=load_wording(trained.part("wording")).to(device),
        intents=load_intents(trained).to(device),
        tokenizer=TextTokenizer(folder, settings.max_tokens),
    )
    revision = revision_of(manifest.files | trained.identity, trained.name, chosen, settings.max_tokens)
    return TransformerEncoder(settings.model, revision, space_of(manifest, trained, chosen, settings.max_tokens), parts, rows)


def read_sizes(folder: Path) -> Sizes:
    """Return what ``config.json`` says of the architecture. Raises ModelError when it is no BERT encoder with GELU."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        sizes = Sizes(int(config["num_attention_heads"]), int(config["num_hidden_layers"]), float(config["layer_norm_eps"]))
        kind = (config["model_type"], config["hidden_act"], config["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / 'config.json'} cannot be used: {error!r}; {model_store.FIX}") from error
    if kind != ("bert", "gelu", DIMENSIONS):
        raise ModelError(f"{folder / 'config.json'}: {kind} is not a BERT encoder with GELU and {DIMENSIONS} dimensions")
    if sizes.heads < 1 or DIMENSIONS % sizes.heads:
        raise ModelError(f"{folder / 'config.json'}: {sizes.heads} heads do not share {DIMENSIONS} dimensions; {model_store.FIX}")
    return sizes


def offered_modes(device: torch.device) -> tuple[Mode, ...]:
    """Return the modes that make sense on a device, the fastest first."""
    if device.type == "cuda":
        return ("bf16", "fp32")
    if torch.cpu._is_amx_tile_supported():
        return ("bf16", "int8", "fp32")
    return ("int8", "fp32")


def choose_mode(wanted: str, device: torch.device) -> Mode:
    """Return the mode asked for, or the fastest one where ``auto`` is. Raises ConfigurationError for int8 on a GPU."""
    if wanted == "auto":
        return offered_modes(device)[0]
    if wanted == "int8" and device.type != "cpu":
        raise ConfigurationError("GROUNDSWELL_ENCODER__MODE = int8 works on a CPU only; use bf16 on a GPU")
    return cast("Mode", wanted)


def find_device(wanted: str, key: str = "GROUNDSWELL_ENCODER__DEVICE") -> torch.device:
    """Return the device asked for, or the best one. Raises ConfigurationError, which names the key, when there is none."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if (named := re.fullmatch(r"cpu|cuda(?::(\d+))?", wanted)) is None:
        raise ConfigurationError(f"{key} = {wanted!r} is no device; use auto, cpu, cuda or cuda:0")
    if wanted != "cpu" and int(named[1] or 0) >= (found := torch.cuda.device_count()):
        raise ConfigurationError(f"{key} = {wanted!r}, but torch finds {found or 'no'} GPU; use cpu or auto")
    return torch.device(wanted)


def _trunk_weights(path: Path, device: torch.device) -> dict[str, Tensor]:
    try:
        return load_file(path, device=str(device))
    except SafetensorError as error:
        raise ModelError(f"{path} cannot be read ({error}); remove the folder and run `groundswell model fetch`") from error


def _layers(mode: Mode, device: torch.device, rows: int, make: Callable[[LinearFactory], Trunk]) -> LinearFactory:
    """Return the factory of a mode's layers for the trunk that ``make`` builds."""
    if mode == "int8":
        return steady_linear(int8_linear(typical_inputs(make)), rows, torch.float32)
    if mode == "fp32":
        return steady_linear(float_linear(torch.float32), rows, torch.float32)
    fused = device.type == "cpu" and is_offered()
    layers = onednn_linear if fused else float_linear(torch.bfloat16)
    return steady_linear(layers, rows, torch.bfloat16)


def _block(rows: Tensor, size: int) -> Tensor:
    """Return ``size`` rows, zeros after the real ones: one shape for every batch."""
    block = rows.new_zeros((size, rows.shape[1]))
    block[: len(rows)] = rows
    return block
