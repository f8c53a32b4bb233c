import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.commands.encode import encode
from pipeline.errors import ConfigurationError
from workers.fake_encoder import FakeEncoder
from workers.model import transformer

ODD = ["", " \t ", "x" * 100_000, "涨了 great День 株価", "a\x00b\x1b[31mred\x07", "🚀🚀", "\u200b\u200d", "a\ud800b", "plain"]


@pytest.fixture(autouse=True)
def without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "load_encoder", lambda *_: FakeEncoder())


def test_odd_texts_have_a_row_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "odd.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in ODD), "utf-8")
    encode(file, tmp_path / "v.npy", "sentiment,intent")
    vectors = np.load(tmp_path / "v.npy")
    assert vectors.shape == (len(ODD), 384)
    assert np.isfinite(vectors).all()
    answers = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text("utf-8").splitlines()]
    assert len(answers) == len(ODD)
    assert set(answers[0]) == {"sentiment", "intents"}
    said = capsys.readouterr()
    assert f"{len(ODD)} of {len(ODD)} texts" in said.err
    assert "3 of the texts hold nothing visible" in said.err
    assert FakeEncoder.revision in said.out


@pytest.mark.parametrize(
    ("out", "heads", "said"),
    [
        ("a.npy", "intent", "would overwrite"),
        ("a.jsonl", "", "would overwrite"),
        ("folder", "", "is a folder"),
        (".", "", "is a folder"),
        ("/", "", "is a folder"),
        ("x" * 300, "", "cannot be written"),
        ("x" * 250, "", "cannot be written"),
        ("v.jsonl", "intent", "is where the answers go"),
        ("v", "x", "use"),
    ],
)
def test_nothing_of_the_users_is_overwritten(tmp_path: Path, out: str, heads: str, said: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(text := json.dumps({"text": "up"}), "utf-8")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match=said):
        encode(file, tmp_path / out, heads)
    assert file.read_text("utf-8") == text
    assert {path.name for path in tmp_path.iterdir()} == {"a.jsonl", "folder"}


@pytest.mark.parametrize("out", ["", ".", "folder/.."])
def test_the_working_folder_is_no_name_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="is a folder"):
        encode(Path("a.txt"), Path(out), "intent")


@pytest.mark.parametrize("there", ['{"text": "up"}', '{"sentiment": {}, "simhash": "0"}', "[]", "[[1]]", "3", "notes", ""])
def test_answers_take_the_place_of_answers_alone(tmp_path: Path, there: str) -> None:
    (tmp_path / "a.txt").write_text("up\n", "utf-8")
    encode(tmp_path / "a.txt", tmp_path / "v.npy", "sentiment")
    before = (tmp_path / "v.jsonl").read_text("utf-8")
    encode(tmp_path / "a.txt", tmp_path / "v.npy", "sentiment, intent")
    assert (tmp_path / "v.jsonl").read_text("utf-8") != before
    (tmp_path / "v.jsonl").write_text(there, "utf-8")
    with pytest.raises(ConfigurationError, match=r"the answers go to .*v\.jsonl, which holds something else; give OUT another"):
        encode(tmp_path / "a.txt", tmp_path / "v.npy", "sentiment")
    assert (tmp_path / "v.jsonl").read_text("utf-8") == there


def test_texts_are_not_overwritten_by_the_answers_under_their_unpacked_name(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "up"}'))
    with pytest.raises(ConfigurationError, match=r"a\.jsonl would overwrite the texts"):
        encode(tmp_path / "a.jsonl.gz", tmp_path / "a.npy", "sentiment")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl.gz"]


def test_a_pipe_keeps_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("up\n", "utf-8")
    os.mkfifo(tmp_path / "v.npy")
    os.mkfifo(tmp_path / "w.jsonl")
    for out in ("v.npy", "w.npy"):
        with pytest.raises(ConfigurationError, match="is a device or a pipe"):
            encode(tmp_path / "a.txt", tmp_path / out, "sentiment")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"fine\n\xff\n", "a.txt line 2 is not UTF-8"),
        ("a.txt.gz", gzip.compress(b"fine\n" * 9_000, mtime=0)[:40], "cannot be read"),
        ("a.jsonl", b'{"text": "x"}\n{"txt": "y"}', "a.jsonl line 2: field 'text' is missing"),
        ("a.txt", b"", "holds no text"),
        ("a.json", b'[{"text": "x"}]', "a.json line 1 is a list, not an object"),
        ("a.json.gz", gzip.compress(b'{"txt": "x"}', mtime=0), "a.json.gz line 1: field 'text' is missing"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_nothing_is_written(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError, match=said):
        encode(tmp_path / name, tmp_path / "v.npy", "")
    assert not (tmp_path / "v.npy").exists()


def test_a_place_where_nothing_can_be_written_is_told_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformer, "load_encoder", lambda *_: pytest.fail("worked too early"))
    (tmp_path / "a.txt").write_text("up", "utf-8")
    with pytest.raises(ConfigurationError, match=r"a\.txt: nothing can be written there \(.*\); choose another place"):
        encode(tmp_path / "a.txt", tmp_path / "a.txt" / "v.npy", "")
