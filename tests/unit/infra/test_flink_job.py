import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.flink_cluster import FlinkCluster
from infra.flink_job import SCRIPT, Submitted, ensure_running, forget, latest_checkpoint, stop_with_savepoint
from pipeline.errors import ConfigurationError, Unavailable
from pipeline.jobs.trends_settings import describe
from pipeline.settings import KafkaSettings, Settings
from tests.flink_answers import answering, cluster_of
from tests.unit.infra.test_flink_cluster import cluster_with


def complete(path: Path, at_s: int) -> Path:
    path.mkdir(parents=True)
    (path / "_metadata").write_bytes(b"")
    os.utime(path / "_metadata", (at_s, at_s))
    return path


def submitted(folder: Path, *job_ids: str) -> None:
    (folder / "trends").mkdir(parents=True, exist_ok=True)
    (folder / "trends" / "submissions").write_text("".join(f"{each}\n" for each in job_ids), "ascii")


def test_nothing_was_kept_before_the_first_submission(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None


def test_the_newest_complete_state_counts_wherever_it_stands(tmp_path: Path) -> None:
    submitted(tmp_path, "a", "b")
    complete(tmp_path / "checkpoints" / "a" / "chk-9", 100)
    newest = complete(tmp_path / "checkpoints" / "b" / "chk-1", 200)
    (tmp_path / "checkpoints" / "b" / "chk-2").mkdir()  # was being written when the machine stopped
    assert latest_checkpoint(tmp_path) == newest
    savepoint = complete(tmp_path / "trends" / "savepoints" / "savepoint-b-1", 300)
    assert latest_checkpoint(tmp_path) == savepoint


def test_checkpoints_of_other_jobs_are_left_alone(tmp_path: Path) -> None:
    submitted(tmp_path, "a")
    complete(tmp_path / "checkpoints" / "somebody-elses" / "chk-1", 100)
    assert latest_checkpoint(tmp_path) is None


@pytest.mark.parametrize("newest", ["trends/savepoints/savepoint-a-1", "checkpoints/b/chk-1"])
def test_what_flink_deletes_meanwhile_is_passed_over(tmp_path: Path, newest: str) -> None:
    """After a stop its savepoint is there before the last of its checkpoints are gone."""
    submitted(tmp_path, "a", "b")
    kept = complete(tmp_path / newest, 200)
    (tmp_path / "checkpoints").mkdir(exist_ok=True)
    ended = threading.Event()

    def come_and_go() -> None:
        while not ended.is_set():
            complete(tmp_path / "made" / "chk-9", 100)
            (tmp_path / "made").rename(tmp_path / "checkpoints" / "a")
            shutil.rmtree(tmp_path / "checkpoints" / "a")

    with ThreadPoolExecutor(1) as flink:
        going = flink.submit(come_and_go)
        try:
            assert {latest_checkpoint(tmp_path) for _ in range(2_000)} == {kept}
        finally:
            ended.set()
        going.result()


def test_after_forgetting_only_later_submissions_count(tmp_path: Path) -> None:
    submitted(tmp_path, "a")
    complete(tmp_path / "checkpoints" / "a" / "chk-1", 100)
    complete(tmp_path / "trends" / "savepoints" / "savepoint-a-1", 200)
    forget(tmp_path)
    assert latest_checkpoint(tmp_path) is None
    submitted(tmp_path, "b")
    fresh = complete(tmp_path / "checkpoints" / "b" / "chk-1", 300)
    assert latest_checkpoint(tmp_path) == fresh


def test_a_job_whose_submission_was_cut_short_is_found_again_with_its_checkpoints(tmp_path: Path) -> None:
    """The client handed it over, and was ended before its id was kept."""
    complete(tmp_path / "checkpoints" / "a" / "chk-1", 100)
    with answering(cluster_of(a="RUNNING")) as url:
        cluster = running_on(tmp_path, url)
        for _ in range(2):
            assert ensure_running(cluster, describe(Settings()), 5) == Submitted("a", fresh=False, resumed_from=None)
    assert (tmp_path / "trends" / "submissions").read_text("ascii") == "a\n"
    assert latest_checkpoint(tmp_path) == tmp_path / "checkpoints" / "a" / "chk-1"


def running_on(folder: Path, url: str) -> FlinkCluster:
    return FlinkCluster(folder, folder, folder, folder, int(url.rpartition(":")[2]), 0)


def on_topics(prefix: str) -> Settings:
    return Settings(kafka=KafkaSettings(topic_prefix=prefix))


def test_a_job_on_other_topics_does_not_go_on_from_this_ones_state_which_is_kept_for_it(tmp_path: Path) -> None:
    """Its sources would go on with the old topics beside its own."""
    first, other = describe(Settings()), describe(on_topics("new."))
    answers = cluster_of(a="RUNNING", b="RUNNING")
    answers["/jobs/overview"]["jobs"][1]["name"] = other.name
    with answering(answers) as url:
        cluster = running_on(tmp_path, url)
        ensure_running(cluster, first, 5)
        savepoint = complete(tmp_path / "trends" / "savepoints" / "savepoint-a-1", 100)
        ensure_running(cluster, other, 5)
        assert latest_checkpoint(tmp_path) is None
        of_other = complete(tmp_path / "checkpoints" / "b" / "chk-1", 50)
        assert latest_checkpoint(tmp_path) == of_other
        ensure_running(cluster, first, 5)
        assert latest_checkpoint(tmp_path) == savepoint
        ensure_running(cluster, other, 5)
        assert latest_checkpoint(tmp_path) == of_other


def test_state_of_a_release_that_gave_it_no_name_is_the_jobs(tmp_path: Path) -> None:
    submitted(tmp_path, "a")
    kept = complete(tmp_path / "checkpoints" / "a" / "chk-1", 100)
    with answering(cluster_of(a="RUNNING")) as url:
        ensure_running(running_on(tmp_path, url), describe(Settings()), 5)
    assert latest_checkpoint(tmp_path) == kept


def test_a_job_that_runs_is_not_said_to_have_begun_again(tmp_path: Path) -> None:
    submitted(tmp_path, "a")
    with answering(cluster_of(a="RUNNING")) as url, pytest.raises(ConfigurationError, match="runs, .*groundswell trends --stop"):
        ensure_running(running_on(tmp_path, url), describe(Settings()), 5, from_beginning=True)
    assert (tmp_path / "trends" / "submissions").read_text("ascii") == "a\n"


def test_a_cluster_that_is_silent_for_a_moment_is_asked_again(tmp_path: Path) -> None:
    answers = cluster_of(a="RUNNING")
    listed = answers["/jobs/overview"]
    answers["/jobs/overview"] = [listed, 503, None, {"jobs": []}, listed]
    with answering(answers) as url:
        cluster = FlinkCluster(tmp_path, tmp_path, tmp_path, tmp_path, int(url.rpartition(":")[2]), 0)
        assert ensure_running(cluster, describe(Settings()), 5) == Submitted("a", fresh=False, resumed_from=None)


def test_a_job_that_ends_while_it_is_looked_at_is_submitted_again(tmp_path: Path) -> None:
    """One that is being stopped is listed as running a moment before it is not."""
    fresh = "0123456789abcdef0123456789abcdef"
    first, second = cluster_of(a="RUNNING", **{fresh: "RUNNING"})["/jobs/overview"]["jobs"]
    over = first | {"state": "FINISHED"}
    listed = [{"jobs": [first]}, {"jobs": [over]}, {"jobs": [over, second]}, {"jobs": [over, second | {"state": "CANCELED"}]}]
    with answering({"/jobs/overview": listed}) as url:
        cluster = replace(cluster_with(tmp_path, f"submitted with JobID {fresh}", 0), rest_port=int(url.rpartition(":")[2]))
        assert ensure_running(cluster, describe(Settings()), 5) == Submitted(fresh, fresh=True, resumed_from=None)
        assert stop_with_savepoint(cluster, describe(Settings()), 5) is None


@pytest.mark.parametrize("noticed", [False, True])
def test_a_job_that_lost_its_task_manager_is_stopped_once_its_tasks_run_again(
    noticed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flink notices after some seconds, and tells for three more of this one job that its tasks run: each try fails meanwhile."""
    monkeypatch.setattr("pipeline.adapters.flink_rest.uuid4", lambda: SimpleNamespace(hex="mine"))
    answers = cluster_of(a="RUNNING")
    (job,) = answers["/jobs/overview"]["jobs"]
    looks: list[bool] = []

    def listed() -> object:
        looks.append(len(looks) >= 8)
        return {"jobs": [job | {"tasks": {"total": 1, "running": int(looks[-1] or not noticed)}}]}

    def how_it_went() -> object:
        went = {"location": "file:/x"} if looks[-1] else {"failure-cause": {"stack-trace": "CheckpointException: no task runs"}}
        return {"status": {"id": "COMPLETED"}, "operation": went}

    answers |= {"/jobs/overview": listed, "/jobs/a": {"state": "RUNNING", "vertices": [{"status": "RUNNING"}]}}
    answers |= {"/jobs/a/stop": {"request-id": "mine"}, "/jobs/a/savepoints/mine": how_it_went}
    with answering(answers) as url:
        cluster = FlinkCluster(tmp_path, tmp_path, tmp_path, tmp_path, int(url.rpartition(":")[2]), 0)
        assert stop_with_savepoint(cluster, describe(Settings()), 20) == "file:/x"


def test_a_savepoint_that_never_succeeds_is_told_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.adapters.flink_rest.uuid4", lambda: SimpleNamespace(hex="mine"))
    failed = {"status": {"id": "COMPLETED"}, "operation": {"failure-cause": {"stack-trace": "IOException: disk full"}}}
    answers = cluster_of(a="RUNNING") | {"/jobs/a/stop": {"request-id": "mine"}, "/jobs/a/savepoints/mine": failed}
    with answering(answers) as url:
        cluster = FlinkCluster(tmp_path, tmp_path, tmp_path, tmp_path, int(url.rpartition(":")[2]), 0)
        with pytest.raises(Unavailable, match="savepoint of job a failed: IOException: disk full"):
            stop_with_savepoint(cluster, describe(Settings()), 0.2)


def test_the_script_is_the_jobs_module() -> None:
    assert SCRIPT.is_file()
