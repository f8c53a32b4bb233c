import threading
from pathlib import Path

import pytest

from infra.cache import published
from pipeline.errors import ConfigurationError


def test_builds_once_and_publishes_whole(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(staging: Path) -> None:
        built.append(staging)
        staging.mkdir()
        (staging / "file").write_text("x", "utf-8")
        assert not (tmp_path / "target").exists()

    for _ in range(2):
        assert (published(tmp_path / "target", build) / "file").read_text("utf-8") == "x"
    assert len(built) == 1


def test_where_nothing_can_be_written_the_setting_is_named() -> None:
    with pytest.raises(ConfigurationError, match="/proc/nope: nothing can be written there .* GROUNDSWELL_CACHE=FOLDER"):
        published(Path("/proc/nope/jars"), lambda _: None)


def test_an_interrupted_build_is_cleared_and_done_again(tmp_path: Path) -> None:
    def fails(staging: Path) -> None:
        staging.mkdir()
        (staging / "half").write_text("", "utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        published(tmp_path / "target", fails)
    assert not (tmp_path / "target").exists()
    published(tmp_path / "target", lambda staging: staging.mkdir())
    assert list((tmp_path / "target").iterdir()) == []


def test_two_at_once_build_once(tmp_path: Path) -> None:
    inside, go_on = threading.Event(), threading.Event()
    builds: list[int] = []

    def build(staging: Path) -> None:
        builds.append(1)
        inside.set()
        assert go_on.wait(10)
        staging.write_text("x", "utf-8")

    threads = [threading.Thread(target=published, args=(tmp_path / "target", build)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert len(builds) == 1
    assert (tmp_path / "target").read_text("utf-8") == "x"
