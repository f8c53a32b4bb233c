import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigurationError, ModelError
from pipeline.settings import EncoderSettings
from tests.unit.workers.tiny_model import tiny_config, tiny_weights, write_model, write_trained
from workers.encoder import Encodings, TokenIds
from workers.forward.attention import by_texts
from workers.forward.packing import pack
from workers.forward.trunk import Attending, Sizes, build, float_linear
from workers.model.model_store import MANIFEST
from workers.model.transformer import MODES, Mode, TransformerEncoder, choose_mode, load_encoder
from workers.training.refit import refit_intents

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    write_model(root / "model")
    write_trained(root / "trained")
    return root


def settings_for(folder: Path) -> EncoderSettings:
    return EncoderSettings(model=str(folder / "model"), weights=folder / "trained", device="cpu", max_tokens=100)


def encoder_in(folder: Path, mode: Mode) -> TransformerEncoder:
    return load_encoder(settings_for(folder), folder, mode)


def random_texts(count: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    return [" ".join(f"w{word}" for word in draw.integers(0, 200, draw.integers(1, 110))) for _ in range(count)]


def rows_of(answers: Encodings, index: int) -> bytes:
    return b"".join(part[index].tobytes() for part in (answers.vectors, answers.sentiment, answers.intents))


@pytest.mark.parametrize("attending", [None, by_texts])
def test_the_packed_trunk_computes_what_transformers_computes(attending: Attending | None) -> None:
    from transformers import BertConfig, BertModel  # seconds, which only this test needs

    model = BertModel(BertConfig(**tiny_config()), add_pooling_layer=False)
    model.train(False)
    weights = tiny_weights()
    assert set(model.load_state_dict(weights, strict=False).missing_keys) <= {"embeddings.position_ids"}
    trunk = build(weights, Sizes(12, 2, 1e-12), float_linear(torch.float32), torch.float32)
    trunk.attending = attending or trunk.attending
    tokens: list[TokenIds] = [np.arange(4, 4 + length, dtype=np.int32) for length in (1, 3, 16, 17, 40)]
    with torch.inference_mode():
        for packed in pack(tokens, 64):
            rows, spans = trunk(packed)
            for span in spans:
                for member, at in zip(span.members.tolist(), span.gather.view(span.texts, -1), strict=True):
                    ids = torch.from_numpy(tokens[member].astype(np.int64))[None]
                    expected = model(ids).last_hidden_state[0]
                    torch.testing.assert_close(rows[at[: len(tokens[member])]], expected, atol=2e-5, rtol=1e-4)


def test_heads_of_a_size_without_a_kernel_attend_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(folder / "wide" / "model", heads=6)
    (folder / "wide" / "trained").symlink_to(folder / "trained")
    encoder = encoder_in(folder / "wide", "fp32")
    tokens = encoder.tokenize(random_texts(5, seed=4))
    together, alone = encoder.encode(tokens), [encoder.encode([ids]) for ids in tokens]
    assert [rows_of(together, index) for index in range(5)] == [rows_of(one, 0) for one in alone]
    kernel = encoder_in(folder, "fp32")
    monkeypatch.setattr("workers.forward.trunk.bucketed", lambda *_: pytest.fail("laid out in buckets"))
    assert not np.allclose(together.vectors, kernel.encode(tokens).vectors, atol=1e-3)
    with pytest.raises(pytest.fail.Exception, match="laid out in buckets"):
        encoder.encode(tokens)


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_is_the_same_bits_in_any_company(folder: Path, mode: Mode) -> None:
    encoder = encoder_in(folder, mode)
    tokens = encoder.tokenize(random_texts(50, seed=3))
    alone = [rows_of(encoder.encode([ids]), 0) for ids in tokens]
    draw = np.random.default_rng(4)
    for _ in range(8):
        chosen = draw.permutation(len(tokens))[: draw.integers(1, len(tokens) + 1)]
        answers = encoder.encode([tokens[place] for place in chosen])
        for row, place in enumerate(chosen):
            assert rows_of(answers, row) == alone[place], f"text {place} of length {len(tokens[place])}"


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_nearly_the_answers_of_fp32(folder: Path, mode: Mode) -> None:
    texts = random_texts(40, seed=8)
    exact, encoder = encoder_in(folder, "fp32"), encoder_in(folder, mode)
    truth, answers = exact.encode(exact.tokenize(texts)), encoder.encode(encoder.tokenize(texts))
    assert float((truth.vectors * answers.vectors).sum(1).min()) > 0.99
    assert np.abs(truth.sentiment - answers.sentiment).max() < 0.02


def test_answers_are_unit_vectors_and_probabilities(folder: Path) -> None:
    encoder = encoder_in(folder, "fp32")
    answers = encoder.encode(encoder.tokenize(random_texts(5, seed=1)))
    assert answers.vectors.shape == (5, 384)
    assert answers.vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(answers.vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(answers.sentiment.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(answers.intents.sum(1), 1, atol=1e-5)
    assert answers.intent_names == ("buy", "sell", "none")


@pytest.mark.parametrize("text", ["", " ", "w1 " * 50_000, "涨 w1 跌", "\x00\x01\x02", "🚀🚀🚀", "w1\u200bw2"])
def test_odd_texts_get_finite_answers(folder: Path, text: str) -> None:
    encoder = encoder_in(folder, "fp32")
    tokens = encoder.tokenize([text])
    assert len(tokens[0]) <= 100
    assert np.isfinite(encoder.encode(tokens).vectors).all()


def test_no_texts_give_no_answers(folder: Path) -> None:
    answers = encoder_in(folder, "fp32").encode([])
    assert answers.vectors.shape == (0, 384)
    assert answers.intents.shape == (0, 3)


def test_the_adapter_changes_the_answers_and_the_revision(folder: Path, tmp_path: Path) -> None:
    write_trained(tmp_path / "bare", with_adapter=False)
    encoder = encoder_in(folder, "fp32")
    bare = load_encoder(EncoderSettings(model=str(folder / "model"), weights=tmp_path / "bare", device="cpu"), folder, "fp32")
    tokens = encoder.tokenize(["w1 w2 w3"])
    assert not np.array_equal(encoder.encode(tokens).vectors, bare.encode(tokens).vectors)
    assert encoder.revision != bare.revision


def test_new_intents_are_fitted_on_the_weights_that_are_there(folder: Path, tmp_path: Path) -> None:
    lines = [
        f"  {name}: [{', '.join(f'w{start + step} w{start}' for step in range(6))}]" for name, start in (("a", 10), ("b", 90))
    ]
    (tmp_path / "intents.yaml").write_text("intents:\n" + "\n".join(lines), "utf-8")
    assert refit_intents(tmp_path / "intents.yaml", settings_for(folder), folder, tmp_path / "new") == ("a", "b", "none")
    new = load_encoder(settings_for(folder).model_copy(update={"weights": tmp_path / "new"}), folder, "fp32")
    tokens = new.tokenize(["w12 w10", "w93 w90"])
    assert new.encode(tokens).intents[:, :2].argmax(1).tolist() == [0, 1]
    assert new.encode(tokens).vectors.tobytes() == encoder_in(folder, "fp32").encode(tokens).vectors.tobytes()


def test_the_revision_tells_what_the_intents_are_called(folder: Path, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    shutil.copytree(folder / "trained", renamed)
    record = json.loads((renamed / "record.json").read_text("utf-8"))
    (renamed / "record.json").write_text(json.dumps(record | {"intents": ["ask", "sell", "none"]}), "utf-8")
    other = load_encoder(settings_for(folder).model_copy(update={"weights": renamed}), folder, "fp32")
    assert other.revision != encoder_in(folder, "fp32").revision


def test_the_revision_names_the_mode(folder: Path) -> None:
    revisions = {encoder_in(folder, mode).revision for mode in MODES}
    assert len(revisions) == len(MODES)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("change", ["missing", "altered"])
def test_a_missing_or_altered_file_is_refused_by_name(tmp_path: Path, name: str, change: str) -> None:
    write_model(tmp_path / "model")
    write_trained(tmp_path / "trained")
    path = tmp_path / "model" / name
    if change == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ModelError, match=name):
        encoder_in(tmp_path, "fp32")


def test_a_model_that_nothing_vouches_for_and_is_no_safetensors_is_refused_by_name(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    write_trained(tmp_path / "trained")
    (tmp_path / "model" / MANIFEST).unlink()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"no safetensors")
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        encoder_in(tmp_path, "fp32")


def test_altered_trained_weights_are_refused_by_name(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    path = write_trained(tmp_path / "trained") / "sentiment.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(ModelError, match=r"sentiment\.safetensors"):
        encoder_in(tmp_path, "fp32")


def test_a_device_that_is_none_is_refused_with_what_to_set(folder: Path) -> None:
    told = "GROUNDSWELL_ENCODER__DEVICE = 'abacus' is no device; use auto, cpu, cuda or cuda:0"
    with pytest.raises(ConfigurationError, match=told):
        load_encoder(EncoderSettings(model=str(folder / "model"), weights=folder / "trained", device="abacus"), folder)


def test_int8_is_refused_on_a_gpu() -> None:
    with pytest.raises(ConfigurationError, match="GROUNDSWELL_ENCODER__MODE = int8 works on a CPU only; use bf16"):
        choose_mode("int8", torch.device("cuda"))
