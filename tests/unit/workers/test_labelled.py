import gzip
import json
from pathlib import Path

import pytest

from pipeline.errors import ConfigurationError
from workers.labelled import read_labelled, read_lines

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


def test_gzip_is_read_by_its_name(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(row("up", "positive"))
    assert len(read_labelled(tmp_path / "a.jsonl.gz", LABELS)) == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (row("x", "happy"), r"a\.jsonl:2: label = 'happy'; use one of negative, neutral, positive"),
        ('{"text": "x"}', r"a\.jsonl:2: field 'label' is missing"),
        ('{"label": "neutral"}', r"a\.jsonl:2: field 'text' is missing"),
        (row(5, "neutral"), r"a\.jsonl:2: text = 5 is no string"),
        (row("x", 1), r"a\.jsonl:2: label = 1 is no string; use one of negative, neutral, positive"),
        (row("x", "\ud800"), r"a\.jsonl:2: label = '\\ud800' holds half a character"),
        ("[" * 200_000, r"a\.jsonl:2: not JSON"),
        ('{"text": ' * 200_000, r"a\.jsonl:2: not JSON"),
        ("[1]", r"a\.jsonl:2: a list, not an object"),
        ("{", r"a\.jsonl:2: not JSON"),
    ],
)
def test_a_wrong_row_is_named_with_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path / "a.jsonl", row("fine", "neutral"), line)
    with pytest.raises(ConfigurationError, match=said):
        read_labelled(path, LABELS)


def test_a_label_of_any_name_is_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.jsonl:1: label = 2 is no string; put it in quotes"):
        read_labelled(written(tmp_path / "a.jsonl", row("x", 2)))
    with pytest.raises(ConfigurationError, match=r"a\.jsonl:1: label = 'a\\udfff' holds half a character"):
        read_labelled(written(tmp_path / "a.jsonl", row("x", "a\udfff")))


def test_rows_without_one_label_on_purpose_are_left_out(tmp_path: Path) -> None:
    mixed = json.dumps({"text": "A up, B down", "entities": {"A": "positive", "B": "negative"}})
    rows = read_labelled(written(tmp_path / "a.jsonl", mixed, row("none", None), row("up", "positive")), LABELS)
    assert rows.texts == ("up",)


def test_an_empty_and_an_absent_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no labelled row"):
        read_labelled(written(tmp_path / "a.jsonl", ""), LABELS)
    with pytest.raises(ConfigurationError, match="no such file"):
        read_labelled(tmp_path / "b.jsonl", LABELS)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="UTF-8"):
        read_labelled(tmp_path / "a.jsonl", LABELS)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"text": "x", "label": "neutral"}\n\xff\n', r"a\.jsonl:2: not UTF-8"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x", "label": "neutral"}\n' * 9_000)[:-40], "cannot be read after .*is it whole"),
        ("a.jsonl.gz", b"plain", "cannot be read after .*is it whole"),
    ],
)
def test_what_is_no_whole_text_file_is_refused_by_name(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        read_labelled(path, LABELS)


def test_a_byte_order_mark_and_foreign_line_ends_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffup\r\ndown\n".encode())
    assert [line for _, line in read_lines(path)] == ["up", "down"]
