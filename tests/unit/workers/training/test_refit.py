import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.adapters.files import sha256_of
from pipeline.errors import ConfigurationError
from pipeline.settings import EncoderSettings, Settings
from tests.unit.workers.tiny_model import write_model, write_trained
from workers.model import shipped
from workers.model.tokenizer import TextTokenizer
from workers.model.transformer import load_encoder
from workers.training.config import DataSet, read_config
from workers.training.data import held_out, outline, prepared
from workers.training.refit import refit_intents, refit_wording

pytestmark = pytest.mark.timeout(120)
RECIPE = """
name: tiny
mode: lora
steps: 1
max_tokens: 32
word_share: 1.0
data:
  - {name: talk, task: sentiment, share: 1, kind: talk, train: train.jsonl, dev: dev.jsonl}
  - {name: more, task: sentiment, share: 1, train: more.jsonl}
  - {name: asks, task: intent, share: 1, train: absent.jsonl}
"""
QUIET = (lambda *_: None, lambda _: None)
TELLING = {"negative": 150, "neutral": 151, "positive": 152}


def rows(count: int, seed: int) -> list[dict[str, str]]:
    """Texts of any words, one of which tells the class."""
    draw = np.random.default_rng(seed)
    found = []
    for index in range(count):
        label = list(TELLING)[index % 3]
        words = [f"w{word}" for word in draw.integers(0, 100, 6)]
        found.append({"text": " ".join([*words, f"w{TELLING[label]}"]), "label": label})
    return found


def write(path: Path, found: list[dict[str, str]]) -> None:
    path.write_text("\n".join(map(json.dumps, found)), "utf-8")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    write_model(tmp_path / "model")
    write_trained(tmp_path / "trained")
    write(tmp_path / "train.jsonl", rows(120, 1))
    write(tmp_path / "dev.jsonl", rows(30, 2))
    write(tmp_path / "more.jsonl", rows(6, 3))
    (tmp_path / "recipe.yaml").write_text(RECIPE, "utf-8")
    encoder = EncoderSettings(model=str(tmp_path / "model"), weights=tmp_path / "trained", device="cpu", mode="fp32")
    own = {"data": tmp_path, "cache": tmp_path / "cache", "encoder": encoder}  # whatever the environment says
    return Settings().model_copy(update=own)


@pytest.mark.slow
def test_words_teach_a_trunk_that_knows_nothing(tmp_path: Path, settings: Settings) -> None:
    scores = refit_wording(tmp_path / "recipe.yaml", settings, tmp_path / "out", QUIET)
    assert scores["talk"]["accuracy"] > 0.9
    before, after = shipped.load(tmp_path / "trained"), shipped.load(tmp_path / "out")
    assert after.record["wording"]["kinds"] == {"talk": "talk", "more": None}
    assert set(before.hashes) - set(after.hashes) == {"wording-news.safetensors"}
    changed = {name for name, digest in after.hashes.items() if before.hashes[name] != digest}
    assert changed == {"sentiment.safetensors", "wording-talk.safetensors"}  # temperatures; vectors and intents stay as they are
    served = load_encoder(settings.encoder.model_copy(update={"weights": tmp_path / "out"}), settings.cache)
    dev = rows(30, 2)
    answers = served.encode(served.tokenize([row["text"] for row in dev])).sentiment
    right = [list(TELLING)[int(row.argmax())] == one["label"] for row, one in zip(answers, dev, strict=True)]
    assert np.mean(right) == pytest.approx(scores["talk"]["accuracy"], abs=1e-3)


@pytest.mark.slow
def test_fitting_again_replaces_the_words(tmp_path: Path, settings: Settings) -> None:
    refit_wording(tmp_path / "recipe.yaml", settings, tmp_path / "once", QUIET)
    encoder = settings.encoder.model_copy(update={"weights": tmp_path / "once"})
    again = settings.model_copy(update={"encoder": encoder})
    refit_wording(tmp_path / "recipe.yaml", again, tmp_path / "twice", QUIET)
    once, twice = shipped.load(tmp_path / "once").tensors, shipped.load(tmp_path / "twice").tensors
    assert once.keys() == twice.keys()
    for name in once:
        torch.testing.assert_close(
            once[name].float(), twice[name].float(), atol=1.0 if name.endswith("levels") else 1e-3, rtol=0.01
        )


def test_copies_of_dev_texts_are_left_out_of_every_set(tmp_path: Path, settings: Settings) -> None:
    copies = [row["text"] for row in rows(30, 2)[:2]]
    spoilt = [f"@someone {copies[0].upper()}!!! https://t.co/abc", copies[1].replace(" ", "  ")]
    write(tmp_path / "more.jsonl", [{"text": text, "label": "positive"} for text in [*spoilt, "w1 w2 w3"]])
    config = read_config(tmp_path / "recipe.yaml")
    config = config.model_copy(update={"data": config.data[:2]})
    sets = prepared(config, tmp_path, TextTokenizer(tmp_path / "model", 32))
    assert [len(one.tokens) for one in sets] == [120, 1]


def test_an_outline_keeps_what_copies_share() -> None:
    assert outline("RT @user: $AAPL is UP, 5%! http") == outline("rt $aapl is up 5 %")
    assert outline("股价 会上涨。") == outline("股价会上涨")
    assert outline("up 5") != outline("up 6")
    assert held_out([DataSet(name="a", task="sentiment", train="unused", share=1)], Path()) == frozenset()


@pytest.mark.slow
def test_intents_fitted_anew_leave_nothing_of_the_old_ones(tmp_path: Path, settings: Settings) -> None:
    old = shipped.load(tmp_path / "trained")
    stale = {"intents.buckets": torch.tensor([3], dtype=torch.int32), "intents.table": torch.ones((1, 3), dtype=torch.float16)}
    shipped.save(tmp_path / "stale", old.tensors | stale, old.record)
    (tmp_path / "asks.yaml").write_text("intents: {a: [w1 w2, w1 w3], b: [w4 w5, w4 w6], c: [w7 w8, w7 w9]}", "utf-8")
    encoder = settings.encoder.model_copy(update={"weights": tmp_path / "stale"})
    names = refit_intents(tmp_path / "asks.yaml", encoder, settings.cache, tmp_path / "new")
    assert names == ("a", "b", "c", "none")
    assert shipped.load(tmp_path / "new").record["intent_examples"] == sha256_of(tmp_path / "asks.yaml")
    served = load_encoder(settings.encoder.model_copy(update={"weights": tmp_path / "new"}), settings.cache)
    assert served.encode(served.tokenize(["w1 w2"])).intents.shape == (1, 4)


def test_a_target_that_holds_something_else_is_refused_before_any_work(tmp_path: Path, settings: Settings) -> None:
    for refit in (
        lambda: refit_intents(tmp_path / "absent.yaml", settings.encoder, settings.cache, tmp_path),
        lambda: refit_wording(tmp_path / "absent.yaml", settings, tmp_path, QUIET),
    ):
        with pytest.raises(ConfigurationError, match="holds something else than weights"):
            refit()
    assert (tmp_path / "recipe.yaml").is_file()
