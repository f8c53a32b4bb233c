"""The real weights: what the shipped encoder promises, on our own sentences."""

import functools
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.text import normalise
from pipeline.settings import load
from workers.encoder import SENTIMENTS, Encodings
from workers.model import model_store
from workers.model.intents import read_intents
from workers.model.transformer import MODES, Mode, TransformerEncoder, load_encoder
from workers.training.run import DEFAULT_INTENTS

TRANSLATIONS = (
    ("The stock price will rise tomorrow", "股价明天会上涨"),
    ("I had noodles for lunch", "中午吃了一碗面"),
    ("Where is my order?", "我的订单在哪里？"),
    ("The battery dies too fast", "电池耗电太快"),
    ("How do I reset my password", "怎么重置密码"),
    ("The company reported record profits", "公司公布了创纪录的利润"),
    ("It is raining in Beijing today", "北京今天下雨"),
    ("I want a refund", "我要退款"),
    ("This movie is wonderful", "这部电影很精彩"),
    ("Sell everything now", "现在全部卖出"),
    ("The CEO resigned", "首席执行官辞职了"),
    ("Book a table for two", "订一张两人桌"),
)
pytestmark = [pytest.mark.model, pytest.mark.timeout(300)]


@functools.cache
def encoder_in(mode: Mode) -> TransformerEncoder:
    settings = load()
    return load_encoder(settings.encoder.model_copy(update={"device": "cpu"}), settings.cache, mode)


@functools.cache
def sentences() -> tuple[str, ...]:
    examples = read_intents(DEFAULT_INTENTS).rows()[0]
    return (*examples, " ".join(examples[:40]), "涨")


@functools.cache
def answers_in(mode: Mode) -> Encodings:
    encoder = encoder_in(mode)
    return encoder.encode(encoder.tokenize(sentences()))


def test_fetching_again_only_checks(tmp_path: Path) -> None:
    settings = load()
    folder, manifest, downloaded = model_store.fetch(settings.encoder.model, settings.cache, "auto")
    assert not downloaded
    assert set(manifest.files) == {path.name for path in folder.iterdir()} - {"manifest.json"}


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_is_the_same_bits_in_any_company(mode: Mode) -> None:
    encoder, whole = encoder_in(mode), answers_in(mode)
    tokens = encoder.tokenize(sentences())
    draw = np.random.default_rng(0)
    for count in (1, 2, 7, 33, 80):
        chosen = draw.permutation(len(tokens))[:count]
        part = encoder.encode([tokens[place] for place in chosen])
        assert part.vectors.tobytes() == whole.vectors[chosen].tobytes()
        assert part.sentiment.tobytes() == whole.sentiment[chosen].tobytes()
        assert part.intents.tobytes() == whole.intents[chosen].tobytes()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_stays_close_to_fp32(mode: Mode) -> None:
    exact, answers = answers_in("fp32"), answers_in(mode)
    assert float((exact.vectors * answers.vectors).sum(1).min()) >= 0.99
    changed = exact.sentiment.argmax(1) != answers.sentiment.argmax(1)
    assert changed.mean() < 0.03
    best, second = np.sort(exact.sentiment, axis=1)[:, ::-1][:, :2].T
    assert ((best - second)[changed] < 0.05).all()  # a coin's toss in float32 too


@pytest.mark.parametrize(
    ("text", "sentiment"),
    [
        ("Shares plunge after the company admits accounting fraud", "negative"),
        ("Profit doubles and the dividend is raised again", "positive"),
        ("This is the best phone I have ever owned", "positive"),
        ("质量太差了，用两天就坏，千万别买", "negative"),
        ("服务很好，味道也不错，下次还来", "positive"),
        ("跌停了，亏惨了", "negative"),
    ],
)
def test_plain_sentiment_is_read_in_both_languages(text: str, sentiment: str) -> None:
    encoder = encoder_in("fp32")
    answers = encoder.encode(encoder.tokenize([normalise(text)]))
    assert SENTIMENTS[int(answers.sentiment[0].argmax())] == sentiment


def test_vectors_join_what_means_the_same_in_two_languages() -> None:
    encoder = encoder_in("fp32")
    english, chinese = (encoder.encode(encoder.tokenize(texts)).vectors for texts in zip(*TRANSLATIONS, strict=True))
    likeness = english @ chinese.T
    own, others = likeness.diagonal(), likeness[~np.eye(len(likeness), dtype=bool)]
    assert (likeness.argmax(0) == np.arange(len(likeness))).all()
    assert (likeness.argmax(1) == np.arange(len(likeness))).all()
    assert own.mean() > 0.4 + others.mean()
    prices, noodles = own[:2] - np.maximum(likeness[0, 1], likeness[1, 0])
    assert prices > 0.3
    assert noodles > 0.1  # 0.025 in the base's vectors


def test_the_default_intents_know_most_of_their_own_examples() -> None:
    texts, labels = read_intents(DEFAULT_INTENTS).rows()
    encoder = encoder_in("fp32")
    answers = encoder.encode(encoder.tokenize(texts[::4]))
    named = [answers.intent_names[index] for index in answers.intents[:, :-1].argmax(1)]
    known = [(name, label) for name, label in zip(named, labels[::4], strict=True) if label != "none"]
    assert np.mean([name == label for name, label in known]) > 0.85


def test_texts_are_cut_as_the_tokenizers_package_cuts_them() -> None:
    from tokenizers import Tokenizer

    settings = load()
    peer = Tokenizer.from_file(str(model_store.folder_of(settings.encoder.model, settings.cache) / "tokenizer.json"))
    texts = [normalise(text) for text in sentences()]
    ours = encoder_in("fp32").tokenize(texts)
    pairs = zip(ours, peer.encode_batch_fast([f"query: {text}" for text in texts]), strict=True)
    other = [text for text, (own, his) in zip(texts, pairs, strict=True) if own.tolist() != his.ids and len(own) < 256]
    assert not other
