import json
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from workers.evaluation.labelled import read_labelled

LABELS = ("negative", "neutral", "positive")


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def row(text: object, label: object) -> str:
    return json.dumps({"text": text, "label": label})


def test_texts_come_in_their_normal_form(tmp_path: Path) -> None:
    rows = read_labelled(written(tmp_path / "a.jsonl", row("  Ｂuy\u200b @bob ", "positive"), "", row("跌", "negative")), LABELS)
    assert rows.texts == ("Buy @user", "跌")
    assert rows.labels == ("positive", "negative")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (row("x", "happy"), r"a\.jsonl line 2: label = 'happy'; use one of negative, neutral, positive"),
        ('{"text": "x"}', r"a\.jsonl line 2: field 'label' is missing"),
        ('{"label": "neutral"}', r"a\.jsonl line 2: field 'text' is missing"),
        (row(5, "neutral"), r"a\.jsonl line 2: text = 5 is no string"),
        (row("x", 1), r"a\.jsonl line 2: label = 1 is no string; use one of negative, neutral, positive"),
        (row("x", "\ud800"), r"a\.jsonl line 2: label = '\\ud800' holds half a character"),
        ("[" * 200_000, r"a\.jsonl line 2 is not JSON"),
        ('{"text": ' * 200_000, r"a\.jsonl line 2 is not JSON"),
        ("[1]", r"a\.jsonl line 2 is a list, not an object"),
        ("{", r"a\.jsonl line 2 is not JSON"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path / "a.jsonl", row("fine", "neutral"), line)
    with pytest.raises(ConfigurationError, match=said):
        read_labelled(path, LABELS)


def test_a_label_of_any_name_is_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.jsonl line 1: label = 2 is no string; put it in quotes"):
        read_labelled(written(tmp_path / "a.jsonl", row("x", 2)))
    with pytest.raises(ConfigurationError, match=r"a\.jsonl line 1: label = 'a\\udfff' holds half a character"):
        read_labelled(written(tmp_path / "a.jsonl", row("x", "a\udfff")))


def test_rows_without_one_label_on_purpose_are_left_out(tmp_path: Path) -> None:
    mixed = json.dumps({"text": "A up, B down", "entities": {"A": "positive", "B": "negative"}})
    rows = read_labelled(written(tmp_path / "a.jsonl", mixed, row("none", None), row("up", "positive")), LABELS)
    assert rows.texts == ("up",)


def test_an_empty_and_an_absent_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no labelled row"):
        read_labelled(written(tmp_path / "a.jsonl", ""), LABELS)
    with pytest.raises(ConfigurationError, match="b.jsonl cannot be read .*No such file"):
        read_labelled(tmp_path / "b.jsonl", LABELS)
