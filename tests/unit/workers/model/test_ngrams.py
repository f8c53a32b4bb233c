import numpy as np
import pytest
import torch

from workers.encoder import TokenIds
from workers.model.ngrams import BUCKETS, of_tokens, regress


def ids(*tokens: int) -> TokenIds:
    return np.array(tokens, dtype=np.int32)


def buckets(*texts: TokenIds) -> list[set[int]]:
    grams = of_tokens(texts)
    ends = [*grams.starts.tolist()[1:], len(grams.buckets)]
    return [set(grams.buckets[start:end].tolist()) for start, end in zip(grams.starts.tolist(), ends, strict=True)]


def test_a_text_has_its_tokens_and_its_pairs_each_once() -> None:
    (found,) = buckets(ids(5, 6, 5, 6))
    assert len(found) == 4  # 5, 6, "5 6", "6 5"
    assert all(0 <= bucket < BUCKETS for bucket in found)


def test_pairs_do_not_reach_across_texts_and_have_an_order() -> None:
    apart = buckets(ids(5), ids(6))
    assert [len(found) for found in apart] == [1, 1]
    forward, backward = buckets(ids(5, 6)), buckets(ids(6, 5))
    assert forward[0] & backward[0] == apart[0] | apart[1]
    assert forward != backward


def test_what_a_table_says_of_a_text_does_not_depend_on_its_company() -> None:
    draw = np.random.default_rng(0)
    texts = [draw.integers(0, 250_000, length).astype(np.int32) for length in (1, 3, 40, 256, 7)]
    table = torch.randn(BUCKETS, 20, generator=torch.Generator().manual_seed(0))
    together = of_tokens(texts).rows(table)
    for place, text in enumerate(texts):
        assert torch.equal(of_tokens([text]).rows(table)[0], together[place])
    torch.testing.assert_close(of_tokens(texts).rows(torch.ones(BUCKETS, 1))[0], torch.ones(1))


def test_a_regression_finds_the_word_that_tells() -> None:
    draw = np.random.default_rng(1)
    classes = torch.arange(200) % 2
    texts = [np.append(draw.integers(10, 60, 8), 3 + int(one)).astype(np.int32) for one in classes]
    table = regress(of_tokens(texts), classes, 2)
    assert bool((of_tokens(texts).rows(table).argmax(1) == classes).all())
    assert of_tokens([ids(3)]).rows(table).argmax() == 0
    assert of_tokens([ids(4)]).rows(table).argmax() == 1


def test_classes_that_weigh_alike_do_not_lose_to_the_many() -> None:
    classes = torch.tensor([0] * 90 + [1] * 10)
    grams = of_tokens([ids(3)] * 100)
    many, alike = regress(grams, classes, 2), regress(grams, classes, 2, alike=True)
    said = [torch.softmax(grams.rows(table)[0], 0) for table in (many, alike)]
    assert float(said[0][0]) > 0.8
    assert float(said[1][0]) == pytest.approx(0.5, abs=0.01)


def test_no_text_has_no_rows() -> None:
    assert of_tokens([]).rows(torch.zeros(BUCKETS, 3)).shape == (0, 3)
