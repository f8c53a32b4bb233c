"""From normal forms to token ids: the model's own pieces, with the prefix that e5 was trained on.

The model was made with sentencepiece, which cuts texts in a seventh of the time that the tokenizers package takes for the same
pieces. Where several cuts are equally likely (QQQ: Q and QQ, or QQ and Q) the two may choose differently.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from pipeline.errors import ModelError
from workers.encoder import TokenIds

PREFIX: Final = "query: "
_START, _END, _UNKNOWN, _PADDING, _MASK = "<s>", "</s>", "<unk>", "<pad>", "<mask>"
_KIND: Final = {_UNKNOWN: 2} | dict.fromkeys((_START, _END, _PADDING, _MASK), 3)  # "control": never found in a text
_UNIGRAM: Final = 1


class Cutter(Protocol):
    """Cuts texts into pieces."""

    def __call__(self, texts: list[str]) -> list[TokenIds]:
        """Return the ids of each text, start and end marks included."""


class TextTokenizer:
    """Tokenises whole batches; a text longer than ``max_tokens`` is cut, its end mark kept."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._cut = _cutter(folder / "tokenizer.json")

    def __call__(self, texts: Sequence[str]) -> list[TokenIds]:
        """Return the ids of each text, prefix and special tokens included."""
        limit = self.max_tokens
        found = self._cut([PREFIX + text for text in texts])
        return [ids if len(ids) <= limit else np.append(ids[: limit - 1], ids[-1]) for ids in found]


def _cutter(path: Path) -> Cutter:
    """Return what cuts as a ``tokenizer.json`` says: sentencepiece where the model's pieces are its, else the tokenizers package.

    Raises ModelError for a file that neither can read.
    """
    try:
        described = json.loads(path.read_bytes())
        charsmap = _charsmap(described)
        return _tokenizers(path) if charsmap is None else _sentencepiece(described["model"]["vocab"], charsmap)
    except ImportError:
        raise
    except Exception as error:  # the tokenizers package raises nothing narrower
        raise ModelError(f"{path.name}: no tokenizer that can be read ({error}); fetch the model again") from error


def _charsmap(described: dict[str, Any]) -> bytes | None:
    """Return how sentencepiece brings texts to its normal form; None where the file is not of a model that it made.

    That is a unigram model which marks the beginnings of words, and whose first pieces are those of XLM-R.
    """
    normalizer, before = described.get("normalizer") or {}, described.get("pre_tokenizer") or {}
    first = (normalizer.get("normalizers") or [normalizer])[0]
    own = (
        described["model"].get("type") == "Unigram"
        and "precompiled_charsmap" in first
        and before.get("type") == "Metaspace"
        and [piece for piece, _ in described["model"]["vocab"][:4]] == [_START, _PADDING, _END, _UNKNOWN]
    )
    return base64.b64decode(first["precompiled_charsmap"]) if own else None


def _sentencepiece(vocabulary: list[tuple[str, float]], charsmap: bytes) -> Cutter:
    from sentencepiece import SentencePieceProcessor
    from sentencepiece.sentencepiece_model_pb2 import ModelProto  # type: ignore[attr-defined]

    model = ModelProto(
        pieces=[ModelProto.SentencePiece(piece=piece, score=score, type=_KIND.get(piece, 1)) for piece, score in vocabulary],
        trainer_spec={"model_type": _UNIGRAM, "bos_id": 0, "pad_id": 1, "eos_id": 2, "unk_id": 3},
        normalizer_spec={"precompiled_charsmap": charsmap},
    )
    processor = SentencePieceProcessor(model_proto=model.SerializeToString())
    # As arrays: numbers that Python held one by one would take its interpreter, which the threads of a process share.
    return lambda texts: processor.encode(texts, out_type="numpy", add_bos=True, add_eos=True, num_threads=1)


def _tokenizers(path: Path) -> Cutter:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda texts: [np.array(encoding.ids, dtype=np.int32) for encoding in tokenizer.encode_batch_fast(texts)]
