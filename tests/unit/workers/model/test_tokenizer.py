import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ModelError
from workers.model.tokenizer import TextTokenizer

PIECES = ["▁query", ":", "▁", "▁up", "▁down", "s", "<", "/", ">"]
QUERY, COLON, BLANK, UP, DOWN, S, LESS, SLASH, MORE = range(4, 13)
START, END, UNKNOWN = 0, 2, 3


def described(**changes: Any) -> dict[str, Any]:
    scores = [[piece, 0.0] for piece in ("<s>", "<pad>", "</s>", "<unk>")]
    scores += [[piece, -2.0 - index] for index, piece in enumerate(PIECES)]
    return {
        "model": {"type": "Unigram", "unk_id": 3, "vocab": [*scores, ["<mask>", 0.0]]},
        "normalizer": {"type": "Precompiled", "precompiled_charsmap": ""},
        "pre_tokenizer": {"type": "Metaspace"},
    } | changes


def written(folder: Path, content: str) -> Path:
    (folder / "tokenizer.json").write_text(content, "utf-8")
    return folder


def ids(folder: Path, text: str, max_tokens: int = 32) -> list[int]:
    (found,) = TextTokenizer(written(folder, json.dumps(described())), max_tokens)([text])
    return list(found)


def test_a_text_is_cut_into_the_models_pieces_after_the_prefix(tmp_path: Path) -> None:
    assert ids(tmp_path, "up downs") == [START, QUERY, COLON, UP, DOWN, S, END]


def test_what_no_piece_holds_is_unknown(tmp_path: Path) -> None:
    assert ids(tmp_path, "up 涨") == [START, QUERY, COLON, UP, BLANK, UNKNOWN, END]


def test_a_long_text_is_cut_and_keeps_its_end_mark(tmp_path: Path) -> None:
    assert ids(tmp_path, "up down " * 20, max_tokens=6) == [START, QUERY, COLON, UP, DOWN, END]
    assert ids(tmp_path, "up", max_tokens=5) == [START, QUERY, COLON, UP, END]


@pytest.mark.parametrize("mark", ["<s>", "</s>", "<pad>", "<mask>"])
def test_no_text_can_hold_a_mark(tmp_path: Path, mark: str) -> None:
    found = ids(tmp_path, f"up {mark} down")
    assert (found[0], found[-1]) == (START, END)
    assert not {START, 1, END, 4 + len(PIECES)} & set(found[1:-1])
    assert LESS in found
    assert MORE in found


def test_many_texts_and_none(tmp_path: Path) -> None:
    tokenizer = TextTokenizer(written(tmp_path, json.dumps(described())), 32)
    assert tokenizer([]) == []
    alone = [tokenizer([text])[0].tolist() for text in ("up", "down down", "")]
    together = tokenizer(["up", "down down", ""])
    assert [found.tolist() for found in together] == alone
    assert {found.dtype for found in together} == {np.dtype(np.int32)}


def test_a_model_that_sentencepiece_did_not_make_is_cut_by_the_tokenizers_package(tmp_path: Path) -> None:
    other = {"normalizer": None, "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}}
    whole: dict[str, Any] = {
        "version": "1.0",
        "added_tokens": [],
        "post_processor": None,
        "decoder": None,
        "truncation": None,
        "padding": None,
    }
    tokenizer = TextTokenizer(written(tmp_path, json.dumps(described(**whole, **other))), 5)
    short, long = tokenizer(["up", "down down down"])
    assert short.tolist() == [QUERY, COLON, UP]
    assert long.tolist() == [QUERY, COLON, DOWN, DOWN, DOWN]
    assert tokenizer(["up down down downs"])[0].tolist() == [QUERY, COLON, UP, DOWN, S]
    assert short.dtype == long.dtype == np.int32


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"model": {"type": "Unigram"}, "normalizer": {"type": "Precompiled"}}'])
def test_a_file_that_is_no_tokenizer_is_refused_by_name(tmp_path: Path, content: str) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json: no tokenizer that can be read .*fetch the model again"):
        TextTokenizer(written(tmp_path, content), 32)
