from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import ModelError
from tests.unit.workers.model.test_ngrams import ids
from workers.model import wording
from workers.model.ngrams import BUCKETS, of_tokens
from workers.training import wording_fit
from workers.training.config import DataSet, TrainConfig
from workers.training.data import Prepared

GOOD, BAD, SHORT = 11, 12, 13
NEWS, FORUM = range(20, 40), range(40, 60)


def labelled(kind: str, telling: dict[int, int], words: range, seed: int) -> Prepared:
    """Texts of a kind: ``telling`` says which class each telling token stands for."""
    draw = np.random.default_rng(seed)
    pairs = [(token, label) for token, label in telling.items() for _ in range(60)]
    return Prepared(
        config=DataSet(name=kind, task="sentiment", train="unused", share=1, kind=kind),
        tokens=[np.append(draw.choice(words, 6), token).astype(np.int32) for token, _ in pairs],
        classes=np.array([label for _, label in pairs]),
        names=("negative", "neutral", "positive"),
        weights=np.ones(3, dtype=np.float32),
        dev_tokens=[],
        dev_classes=np.array([], dtype=np.int64),
    )


def config(*sets: Prepared, share: float = 1.0) -> TrainConfig:
    return TrainConfig(name="a", mode="lora", steps=1, data=tuple(one.config for one in sets), word_share=share)


@pytest.fixture(scope="module")
def sets() -> list[Prepared]:
    news = labelled("news", {GOOD: 2, BAD: 0, 14: 1, SHORT: 1}, NEWS, 1)
    return [news, labelled("forum", {GOOD: 2, BAD: 0, SHORT: 0}, FORUM, 2)]


@pytest.fixture(scope="module")
def words(sets: list[Prepared]) -> wording.Wording:
    return wording.load_wording(wording.tensors_of(wording_fit.fit(sets, config(*sets))))


def test_a_word_says_what_it_says_in_its_kind_of_text(words: wording.Wording) -> None:
    said = words(of_tokens([ids(20, 21, 22, SHORT), ids(40, 41, 42, SHORT), ids(25, GOOD, 30), ids(45, GOOD, 50)]))
    assert said.argmax(1).tolist() == [1, 0, 2, 2]


def test_two_class_texts_say_nothing_of_neutral(sets: list[Prepared]) -> None:
    forum = sets[1]
    table = wording_fit.fit([forum], config(forum))["forum"]
    assert not table[:, 2].any()
    assert table[:, 1].any()


def test_the_share_scales_the_answer_and_not_the_kind(sets: list[Prepared]) -> None:
    whole, half = (wording_fit.fit(sets, config(*sets, share=share)) for share in (1.0, 0.5))
    torch.testing.assert_close(half["news"][:, 0], whole["news"][:, 0])
    torch.testing.assert_close(half["news"][:, 1:], whole["news"][:, 1:] / 2)


def test_sets_without_a_kind_take_no_part() -> None:
    forum = labelled("forum", {GOOD: 2, BAD: 0}, FORUM, 2)
    one = replace(forum, config=forum.config.model_copy(update={"kind": None}))
    assert wording_fit.fit([one], config(one)) == {}


def test_weights_without_wording_say_nothing() -> None:
    assert not wording.load_wording({})(of_tokens([ids(1, 2), ids(3)])).any()


def test_a_table_of_another_shape_is_refused() -> None:
    good = {"news.levels": torch.zeros((BUCKETS, 4), dtype=torch.int8), "news.steps": torch.ones(4)}
    with pytest.raises(ModelError, match="wording"):
        wording.load_wording({"news.levels": good["news.levels"]})
    with pytest.raises(ModelError, match=r"table of \(5, 4\)"):
        wording.load_wording(good | {"news.levels": torch.zeros((5, 4), dtype=torch.int8)})
