"""How jobs are handed over, with programs of the test's own in the place of Java."""

from pathlib import Path

import pytest

from infra.flink_cluster import FlinkCluster
from pipeline.errors import Stop

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
