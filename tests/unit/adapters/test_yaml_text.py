from pathlib import Path

import pytest

from pipeline.adapters.yaml_text import parse_yaml, read_yaml
from pipeline.errors import ConfigurationError


def test_a_document_is_read_as_it_stands() -> None:
    assert parse_yaml("a: [1, 2]\nb: {c: 涨}\n", "text") == {"a": [1, 2], "b": {"c": "涨"}}
    assert parse_yaml("one: &shared {a: 1}\ntwo: {<<: *shared, b: 2}\n", "text")["two"] == {"a": 1, "b": 2}


@pytest.mark.parametrize("text", ["intents:\n  buy: [a]\n  buy: [b]\n", "steps: 1\nsteps: 2\n", "- {a: 1, a: 2}\n"])
def test_a_key_that_stands_twice_is_refused_by_name_and_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=r"file\.yaml.*(?s:.*)the key '(buy|steps|a)' stands twice(?s:.*)line \d"):
        read_yaml(path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: [1", b"a: *unknown", b"[" * 3_000])
def test_what_is_no_yaml_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"file\.yaml cannot be read"):
        read_yaml(path)


def test_a_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yaml cannot be read .*; give a YAML file in UTF-8"):
        read_yaml(tmp_path / "none.yaml")
