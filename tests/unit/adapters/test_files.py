from pathlib import Path

import pytest

from pipeline.adapters.files import published_file, published_folder, sha256_of


def half_written(target: Path) -> None:
    with published_folder(target) as scratch:
        (scratch / "a").mkdir()
        (scratch / "a").write_text("half")


def half_a_file(target: Path) -> None:
    with published_file(target) as scratch:
        scratch.write_text("half")
        scratch.mkdir()


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(IsADirectoryError):
        half_written(target)
    assert list(tmp_path.iterdir()) == []
    with published_folder(target) as scratch:
        (scratch / "a").write_text("whole")
        assert not target.exists()
    assert (target / "a").read_text() == "whole"


def test_a_folder_takes_the_place_of_an_older_one(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with published_folder(tmp_path / "out") as scratch:
            (scratch / content).write_text(content)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_keeps_its_old_content_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "v.npy"
    target.write_text("old")
    with pytest.raises(FileExistsError):
        half_a_file(target)
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]


def test_a_file_has_its_own_name_and_the_mode_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    with published_file(tmp_path / "deep" / "v.jsonl.gz", synced=True) as scratch:
        assert scratch.name == "v.jsonl.gz"
        scratch.write_text("whole")
        assert list((tmp_path / "deep").glob("*.gz")) == []
    assert (tmp_path / "deep" / "v.jsonl.gz").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["v.jsonl.gz"]


def test_what_must_outlive_a_machine_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr("os.fsync", lambda _: synced.append(not (tmp_path / "a").exists()))
    with published_file(tmp_path / "a", synced=True) as scratch:
        scratch.write_text("whole")
    assert synced == [True]


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
