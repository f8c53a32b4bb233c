import gzip
import json
from pathlib import Path

import pytest

from pipeline.adapters.json_lines import has_lines, read_lines, read_objects, read_texts, text_field, write_lines
from pipeline.errors import ConfigurationError

ROW = b'{"text": "x"}\n'
PACKED = gzip.compress(ROW * 9_000, mtime=0)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_content_says_whether_a_file_is_packed_and_not_its_name(tmp_path: Path, name: str, packed: bool) -> None:
    (tmp_path / name).write_bytes(gzip.compress(ROW * 2) if packed else ROW * 2)
    assert list(read_lines(tmp_path / name)) == [(1, ROW), (2, ROW)]
    assert [row for _, row in read_objects(tmp_path / name)] == [{"text": "x"}] * 2


def test_blank_lines_are_texts_and_no_objects_and_count(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n" + ROW + b" \n" + ROW)
    assert [text for _, text in read_texts(path)] == ["", '{"text": "x"}', " ", '{"text": "x"}']
    assert [where for where, _ in read_objects(path)] == [f"{path} line 2", f"{path} line 4"]


def test_a_byte_order_mark_and_foreign_line_ends_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffup\r\ndown\n".encode())
    assert [text for _, text in read_texts(path)] == ["up", "down"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (ROW + b"[1]", r"a\.jsonl line 2 is a list, not an object; write one JSON object a line"),
        (ROW + b"{", r"a\.jsonl line 2 is not JSON \(.*\); write one JSON object a line"),
        (ROW + b"\xff\n", r"a\.jsonl line 2 is not UTF-8 text \(.*\); save the file in UTF-8"),
        (b"\xff\xfe\x00", r"a\.jsonl line 1 is not UTF-8 text"),
        (PACKED[:-40], r"a\.jsonl cannot be read after line \d+ \(.*\); it is not whole, fetch it again"),
        (PACKED[:20], r"a\.jsonl cannot be read after line 0 \(.*\); it is not whole, fetch it again"),
        (PACKED[:10] + b"?" * 40, r"a\.jsonl cannot be read after line 0 \(.*\); it is not whole, fetch it again"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_line_and_the_fix(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        list(read_objects(tmp_path / "a.jsonl"))


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(ConfigurationError, match=rf"{path} cannot be read \(.*\); give a file of lines, plain or gzip"):
            list(read_lines(path))


def test_a_field_that_must_be_a_string_is_named_with_its_value() -> None:
    assert text_field({"text": ""}, "text", "a line 1") == ""
    with pytest.raises(ConfigurationError, match="a line 1: field 'text' is missing; every line needs it, as a string"):
        text_field({"txt": "x"}, "text", "a line 1")
    with pytest.raises(ConfigurationError, match="a line 1: text = 5 is no string; put it in quotes"):
        text_field({"text": 5}, "text", "a line 1")
    with pytest.raises(ConfigurationError) as error:
        text_field({"text": ["x" * 1_000]}, "text", "a line 1")
    assert len(str(error.value)) < 150


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_lines_are_written_whole_or_not_at_all(tmp_path: Path, name: str) -> None:
    path = tmp_path / "deep" / name
    write_lines(path, [b'{"n": 1}', b'{"n": 2}'])
    assert [row for _, row in read_objects(path)] == [{"n": 1}, {"n": 2}]
    assert path.read_bytes().startswith(b"\x1f\x8b") is name.endswith(".gz")
    with pytest.raises(TypeError):
        write_lines(path, [json.dumps({"n": 3}).encode(), None])  # type: ignore[list-item]
    assert [row for _, row in read_objects(path)] == [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("name", "does"), [("a.jsonl", True), ("a.json.gz", True), ("a.ndjson", True), ("a.csv", False), ("jsonl", False)]
)
def test_the_name_says_whether_a_file_should_hold_json_lines(name: str, does: bool) -> None:
    assert has_lines(Path(name)) is does
