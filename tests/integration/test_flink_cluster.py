"""The session cluster runs a PyFlink job that imports this project's code, and its processes end with it."""

import re
from http.client import HTTPConnection
from pathlib import Path

import pytest

from infra.flink_cluster import FlinkCluster
from infra.ports import LOOPBACK
from infra.versions import FLINK_VERSION
from pipeline.errors import Stop
from pipeline.log_files import LOG_BYTES

pytestmark = [pytest.mark.integration, pytest.mark.flink, pytest.mark.slow, pytest.mark.timeout(600)]

JOB = """
import sys
from pyflink.common import Types
from pyflink.datastream import StreamExecutionEnvironment
from pipeline.topics import POSTS

def check(number):
    from pipeline.events import SocialPost
    return f"{SocialPost.__name__} {number}"

env = StreamExecutionEnvironment.get_execution_environment()
env.from_collection(list(range(10)), Types.INT()).map(check, Types.STRING()).print()
env.execute(f"{sys.argv[1]} {POSTS.name}")
"""


# as every job does it first asks Flink for an environment: one that dies sooner than the client looks is told without its words
BROKEN = """
from pyflink.datastream import StreamExecutionEnvironment

StreamExecutionEnvironment.get_execution_environment()
raise RuntimeError("planted")
"""


def test_a_job_sees_the_projects_code_on_client_and_cluster(flink: FlinkCluster, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(JOB, "utf-8")
    job = flink.submit(script, ["smoke"])
    rest = flink.rest()
    rest.wait_for(job, "FINISHED", 240)
    assert [each.name for each in rest.jobs() if each.job_id == job] == ["smoke posts"]
    assert rest.overview().version == FLINK_VERSION
    rest.close()


def test_both_processes_bound_their_logs_themselves(flink: FlinkCluster) -> None:
    for name in ("flink-jobmanager", "flink-taskmanager"):
        assert " INFO " in (flink.folder / f"{name}.log").read_text("utf-8")
        assert " INFO " not in (flink.folder / f"{name}.out").read_text("utf-8")
    assert ask(flink.rest_port, "/jobmanager/log").startswith("[")
    assert ask(flink.rest_port, "/jobmanager/stdout") == (flink.folder / "flink-jobmanager.out").read_text("utf-8")
    rolling = (flink.folder / "conf" / "log4j.properties").read_text("utf-8")
    assert f"policy.size = {LOG_BYTES}\n" in rolling


def test_a_script_that_fails_is_refused_with_its_traceback(flink: FlinkCluster, tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text(BROKEN, "utf-8")
    with pytest.raises(Stop, match=r"(?s)^submitting broken.py.*Traceback.*RuntimeError: planted$"):
        flink.submit(script)


@pytest.mark.parametrize(
    ("part", "metric"), [(0, "flink_jobmanager_numRegisteredTaskManagers 1.0"), (1, "flink_taskmanager_Status_JVM_Memory")]
)
def test_both_processes_show_their_metrics(flink: FlinkCluster, part: int, metric: str) -> None:
    assert metric in re.sub(r"\{[^}]*\}", "", ask(flink.metrics_ports[part], "/metrics"))


def ask(port: int, path: str) -> str:
    connection = HTTPConnection(LOOPBACK, port, timeout=20)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text
