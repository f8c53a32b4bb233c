"""How jobs are handed over, with programs of the test's own in the place of Java."""

import ast
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.flink_cluster import SHIPPED, FlinkCluster, address, ship
from infra.flink_job import SCRIPT
from pipeline.errors import Stop

ROOT = Path(__file__).parents[3]
UNHEARD = "Caused by: java.lang.RuntimeException: Failed to start Python process."


def cluster_with(folder: Path, said: str, code: int) -> FlinkCluster:
    """Return a cluster whose client says ``said`` and ends with ``code``."""
    conf = folder / "env" / "lib" / "python3.11" / "site-packages" / "pyflink" / "conf"
    conf.mkdir(parents=True)
    (conf / "config.yaml").write_text("env: {java: {opts: {all: --add-opens=x}}}\n", "utf-8")
    java = folder / "java"
    java.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n", "utf-8")
    java.chmod(0o755)
    return FlinkCluster(folder / "flink", folder / "env" / "bin" / "python", java, folder / "connector.jar", 0, 0)


def test_the_id_of_a_started_job_is_read_from_the_clients_words(tmp_path: Path) -> None:
    job = "0123456789abcdef0123456789abcdef"
    assert cluster_with(tmp_path, f"Job has been submitted with JobID {job}", 0).submit(tmp_path / "job.py") == job


def test_what_the_client_leaves_behind_lies_in_the_clusters_own_folder(tmp_path: Path) -> None:
    cluster = cluster_with(tmp_path, "", 0)
    cluster.java.write_text(f'#!/bin/sh\necho "$@ submitted with JobID {"0" * 32}" | tee {tmp_path}/said\n', "utf-8")
    cluster.submit(tmp_path / "job.py")
    assert f"-Djava.io.tmpdir={tmp_path / 'flink' / 'tmp'} " in (tmp_path / "said").read_text("utf-8")


def test_a_client_that_started_no_job_is_told_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(Stop, match=r"(?s)started no job from job.py.*nothing to do"):
        cluster_with(tmp_path, "nothing to do", 0).submit(tmp_path / "job.py")


def test_a_script_that_died_unheard_is_named_with_the_command_that_lets_it_speak(tmp_path: Path) -> None:
    cluster = cluster_with(tmp_path, UNHEARD, 31)
    with pytest.raises(Stop, match=r"job.py ended before Flink's client could hear why") as caught:
        cluster.submit(tmp_path / "job.py")
    assert str(caught.value).endswith(f"PYTHONPATH={cluster.shipped} {cluster.python} {tmp_path / 'job.py'}")


def test_any_other_failure_shows_what_the_client_said(tmp_path: Path) -> None:
    with pytest.raises(Stop, match=r"(?s)^submitting job.py to Flink failed \(exit code 1\):\nno cluster$"):
        cluster_with(tmp_path, "no cluster", 1).submit(tmp_path / "job.py")


def imported(source: bytes) -> Iterator[str]:
    """Yield the files of this project that a module imports, and the names that it imports from packages, as files."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pipeline"):
            here = (node.module or "").replace(".", "/")
            package = (ROOT / here).is_dir()
            yield from (f"{here}/{name.name}.py" for name in node.names) if package else (f"{here}.py",)


def test_what_is_shipped_holds_everything_that_the_job_imports(tmp_path: Path) -> None:
    ship(tmp_path / "shipped.zip")
    with zipfile.ZipFile(tmp_path / "shipped.zip") as archive:
        waiting, met = [str(SCRIPT.relative_to(ROOT))], set()
        while waiting:
            name = waiting.pop()
            if name not in met:
                met.add(name)
                waiting.extend(imported(archive.read(name)))
    assert "pipeline/events.py" in met


def test_the_image_copies_what_is_shipped() -> None:
    lines = (ROOT / "infra" / "flink.Dockerfile").read_text("utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split() if word.startswith("pipeline/")]
    assert copied == [f"pipeline/{name}" for name in SHIPPED]


def test_flink_is_told_paths_as_they_are(tmp_path: Path) -> None:
    """It reads no escapes: of ``%40`` it makes a folder of that name, beside the one that is looked into afterwards."""
    folder = tmp_path / "u@corp+x"
    assert address(folder) == f"file://{folder}"
    assert cluster_with(folder, "", 0).config["execution.checkpointing.dir"] == f"file://{folder}/flink/checkpoints"
