from pathlib import Path

import pytest

from benchmarks.encode import drawn_texts, flops_per_token, ratios
from pipeline.errors import ConfigurationError
from pipeline.settings import Settings

RATES = {
    "ours int8": 80.0,
    "ours fp32": 40.0,
    "ours int8, three passes": 28.0,
    "sentence-transformers fp32": 20.0,
    "ONNX Runtime int8": 50.0,
}


def test_ratios_are_over_the_default_and_the_best_peer_and_one_pass_over_three() -> None:
    assert ratios(RATES) == pytest.approx(
        {
            "ours int8 / sentence-transformers fp32": 4.0,
            "ours fp32 / sentence-transformers fp32": 2.0,
            "ours int8 / best peer": 1.6,
            "ours fp32 / best peer": 0.8,
            "one pass / ours int8, three passes": 80 / 28,
        }
    )


def test_long_texts_cost_more_a_token_for_their_attention() -> None:
    linear = 2 * 12 * (4 * 384**2 + 2 * 384 * 1536)
    assert flops_per_token([10, 10]) == linear + 4 * 12 * 10 * 384
    assert flops_per_token([10, 30]) == linear + 4 * 12 * 25 * 384


def test_texts_are_drawn_evenly_each_once(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n".join(f"text {place // 2}" for place in range(40)), "utf-8")
    assert sorted(drawn_texts(path, Settings(), 4)) == ["text 0", "text 10", "text 15", "text 5"]
    assert len(drawn_texts(path, Settings(), 600)) == 20


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.txt", None, r"absent\.txt cannot be read \(No such file"),
        ("a.txt", b"\n \n", "holds no text"),
        ("a.txt", b"fine\n\xff", r"a\.txt line 2 is not UTF-8"),
        ("a.jsonl", b'{"txt": "x"}', r"a\.jsonl line 1: field 'text' is missing"),
    ],
)
def test_a_file_without_texts_is_named(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        drawn_texts(tmp_path / name, Settings(), 4)
