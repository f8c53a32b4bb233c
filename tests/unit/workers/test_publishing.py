from pathlib import Path

import pytest

from workers.publishing import published_file, published_folder


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
