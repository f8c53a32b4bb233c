import errno
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from pipeline.adapters.files import mend, published_file, published_folder, sha256_of
from pipeline.errors import ConfigurationError


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


@pytest.mark.parametrize("publish", [published_file, published_folder])
def test_a_place_that_does_not_take_it_is_named(tmp_path: Path, publish: Callable[[Path], AbstractContextManager[Path]]) -> None:
    (tmp_path / "file").touch()
    for target in (tmp_path / ("x" * 254), tmp_path / "file" / "new"):
        with pytest.raises(ConfigurationError, match=re.escape(f"{target} cannot be written (")), publish(target):
            pytest.fail("worked too early")
    with pytest.raises(ConfigurationError, match=r"new cannot be written \(No space left on device\); make room"):
        fill_the_disk(publish(tmp_path / "new"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def fill_the_disk(publishing: AbstractContextManager[Path]) -> None:
    with publishing:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_tensors_that_find_no_room_are_told_the_same_way(tmp_path: Path) -> None:
    publishing = published_folder(tmp_path / "new", SafetensorError)
    with pytest.raises(ConfigurationError, match="new cannot be written"), publishing as scratch:
        save_file({"a": np.zeros(9, np.float32)}, scratch)  # a folder, which safetensors cannot write to
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_take_the_others_place_leaves_it_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, rename = tmp_path / "out", Path.rename
    with published_folder(target) as scratch:
        (scratch / "old").touch()

    def refused(path: Path, to: Path) -> Path:
        if to == target and ".new." in path.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(ConfigurationError, match="cannot be written"), published_folder(target):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]


def test_what_a_killed_process_left_is_put_back_or_removed(tmp_path: Path) -> None:
    for name in (".last.old.abcd1_23/last/state", ".best.old.abcd1_23/best/stale", "best/state", ".last.new.xyz12345/half"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / ".run.json.new.abcd1_23").mkdir()
    (tmp_path / ".notes.old.txt").touch()
    mend(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        ".notes.old.txt",
        "best/state",
        "last/state",
    ]
    assert len(list(tmp_path.iterdir())) == 3
