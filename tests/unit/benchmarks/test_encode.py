import pytest

from benchmarks.encode import flops_per_token, ratios

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
