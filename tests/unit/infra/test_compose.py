"""docker-compose.yml describes the stack that `groundswell up` starts: images, settings, ports, names and metrics agree."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import yaml

from infra import flink_cluster, kafka_server, redis_server, runtime, stack, versions
from infra.submit_trends import job_name, latest_checkpoint, main, submission, watch
from pipeline.environment import is_setting
from pipeline.settings import ENV_PREFIX, Settings
from pipeline.telemetry import COUNTERS, GAUGES, HISTOGRAMS, NAMESPACE
from tests.flink_answers import JOB_NAME, answering, cluster_of

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONCE = {"provision", "model", "trends-job"}  # these end when their work is done
NAMED_BY_THE_NETWORK = {
    "process.roles",
    "node.id",
    "controller.listener.names",
    "inter.broker.listener.name",
    "listener.security.protocol.map",
}
FLINK_ADDRESSES = {
    "jobmanager.rpc.address",
    "jobmanager.bind-host",
    "rest.address",
    "rest.bind-address",
    "taskmanager.host",
    "taskmanager.bind-host",
}


def _environment(service: str) -> dict[str, str]:
    found: dict[str, str] = SERVICES[service].get("environment", {})
    return found


def test_the_log_of_each_service_is_bounded() -> None:
    for name, service in SERVICES.items():
        assert service["logging"]["driver"] == "json-file", name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name


def _port(service: str) -> str:
    return str(SERVICES[service]["ports"][0]).rsplit(":", 1)[1]


@pytest.mark.parametrize(
    ("service", "image"),
    [
        ("provision", f"groundswell-app:{version('groundswell')}"),
        ("kafka", f"apache/kafka:{versions.KAFKA_VERSION}"),
        ("redis", f"redis:{versions.REDIS_VERSION}"),
        ("flink-jobmanager", f"groundswell-flink:{versions.FLINK_VERSION}"),
        ("flink-taskmanager", f"groundswell-flink:{versions.FLINK_VERSION}"),
        ("prometheus", f"prom/prometheus:{versions.PROMETHEUS_VERSION}"),
        ("grafana", f"grafana/grafana:{versions.GRAFANA_VERSION}"),
    ],
)
def test_versions_are_those_of_the_local_stack(service: str, image: str) -> None:
    assert SERVICES[service]["image"] == image


def test_locks_and_versions_agree() -> None:
    assert versions.KAFKA in runtime.locked_jars("kafka")
    assert versions.KAFKA_LOGGING in runtime.locked_jars("kafka")
    assert list(runtime.locked_jars("flink-connector")) == [versions.FLINK_CONNECTOR]
    assert f"apache-flink=={versions.FLINK_VERSION}" in runtime.FLINK_LOCK.read_text("utf-8")
    assert f"ARG CONNECTOR={versions.FLINK_CONNECTOR}\n" in (ROOT / "infra" / "flink.Dockerfile").read_text("utf-8")
    client = next(name for name in runtime.locked_jars("kafka") if ":kafka-clients:" in name)
    assert client.endswith(versions.KAFKA_VERSION)


def test_the_broker_has_the_local_brokers_settings() -> None:
    environment = _environment("kafka")
    expected = {name: value for name, value in kafka_server.PROPERTIES.items() if name not in NAMED_BY_THE_NETWORK}
    assert {name: environment[f"KAFKA_{name.upper().replace('.', '_')}"] for name in expected} == expected


def test_redis_has_the_local_settings() -> None:
    command = SERVICES["redis"]["command"]
    given = {name.removeprefix("--"): value for name, value in zip(command[1::2], command[2::2], strict=True)}
    for name in ("appendonly", "appendfsync", "maxmemory-policy", "databases"):
        assert given[name] == redis_server.PROPERTIES[name]
    assert given["save"] == redis_server.PROPERTIES["save"].strip('"')


def test_flink_has_the_local_settings() -> None:
    script = (ROOT / "infra" / "flink-entrypoint.sh").read_text("utf-8")
    given = dict(re.findall(r"-D ([\w.-]+)=(\S+)", script))
    local = flink_cluster.CONFIG.keys() - flink_cluster.JOB_MANAGER_MEMORY.keys() - flink_cluster.TASK_MANAGER_MEMORY.keys()
    local -= FLINK_ADDRESSES
    assert {name: given[name] for name in local} == {name: str(flink_cluster.CONFIG[name]).replace(" ", "") for name in local}


def test_every_variable_of_ours_is_a_setting_and_has_a_valid_value(monkeypatch: pytest.MonkeyPatch) -> None:
    for service in SERVICES:
        for name, value in _environment(service).items():
            if name.startswith(ENV_PREFIX):
                assert is_setting(name), f"{service}: {name}"
                monkeypatch.setenv(name, re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", value))
        Settings()


def test_what_may_be_set_from_outside_is_else_what_it_is_without_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Settings().notify
    for name, value in _environment("notifier").items():
        if (left := re.fullmatch(r"\$\{(\w+):-(.*)\}", str(value))) and is_setting(name):
            assert left[1] == name
            monkeypatch.setenv(name, left[2])
    assert Settings().notify == before


def test_clients_are_pointed_at_the_servers_of_the_file() -> None:
    for service in ("worker-cpu", "worker-gpu", "notifier", "provision", "trends-job"):
        environment = _environment(service)
        host, port = environment["GROUNDSWELL_KAFKA__BOOTSTRAP"].split(":")
        assert host in SERVICES
        assert f"PLAINTEXT://:{port}" in _environment("kafka")["KAFKA_LISTENERS"]
        assert environment["GROUNDSWELL_REDIS__URL"] == f"redis://redis:{_port('redis')}/0"


def test_every_process_of_the_local_stack_is_a_service_with_a_health_check() -> None:
    for process in stack.STOP_ORDER:
        services = [name for name in SERVICES if name == process or name.startswith(f"{process}-")]
        assert services, process
        assert all("healthcheck" in SERVICES[name] for name in services)


def test_servers_listen_inside_on_the_default_ports_of_the_settings() -> None:
    settings = Settings.model_construct()
    kafka, redis = settings.kafka.bootstrap.split(":")[1], settings.redis.url.get_secret_value()
    assert f"PLAINTEXT://:{kafka}," in _environment("kafka")["KAFKA_LISTENERS"]
    assert f":{_port('redis')}/" in redis
    assert f"flink-jobmanager:{_port('flink-jobmanager')}" in " ".join(SERVICES["trends"]["command"])
    assert f":{_port('flink-jobmanager')}/overview" in " ".join(SERVICES["flink-jobmanager"]["healthcheck"]["test"])


def test_topics_come_from_the_one_table_and_before_whoever_uses_them() -> None:
    assert SERVICES["provision"]["command"] == ["groundswell", "provision"]
    for service in ("worker-cpu", "worker-gpu", "notifier", "trends-job"):
        assert SERVICES[service]["depends_on"]["provision"] == {"condition": "service_completed_successfully"}


def test_every_lasting_service_has_a_health_check_and_data_have_volumes() -> None:
    for name, service in SERVICES.items():
        assert ("healthcheck" in service) is (name not in ONCE), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).is_file(), volume


def test_only_loopback_ports_are_published() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_workers_come_in_a_cpu_and_a_gpu_profile() -> None:
    assert {name: SERVICES[name]["profiles"] for name in SERVICES if "profiles" in SERVICES[name]} == {
        "worker-cpu": ["cpu"],
        "worker-gpu": ["gpu"],
    }
    assert _environment("worker-gpu")["GROUNDSWELL_ENCODER__DEVICE"] == "cuda"
    assert SERVICES["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_prometheus_asks_processes_that_listen() -> None:
    scraped = yaml.safe_load((ROOT / "infra" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    workers = next(each for each in scraped if each["job_name"] == "workers")["dns_sd_configs"][0]
    for service in workers["names"]:
        assert _environment(service)["GROUNDSWELL_WORKER__METRICS_PORT"] == str(workers["port"])
        assert _environment(service)["GROUNDSWELL_WORKER__METRICS_HOST"] == "0.0.0.0"
    flink = next(each for each in scraped if each["job_name"] == "flink")["dns_sd_configs"][0]
    assert set(flink["names"]) <= set(SERVICES)
    assert f"-D metrics.reporter.prometheus.port={flink['port']}\n" in (ROOT / "infra" / "flink-entrypoint.sh").read_text("utf-8")
    (target,) = next(each for each in scraped if each["job_name"] == "notifier")["static_configs"][0]["targets"]
    assert target == f"notifier:{_environment('notifier')['GROUNDSWELL_NOTIFY__METRICS_PORT']}"


def test_the_dashboard_asks_only_for_metrics_of_the_table_and_shows_every_level() -> None:
    series = set(COUNTERS) | set(GAUGES) | {f"{name}_{part}" for name in HISTOGRAMS for part in ("bucket", "sum", "count")}
    known = {f"{NAMESPACE}_{name}" for name in series}
    dashboard = json.loads((ROOT / "infra" / "grafana" / "groundswell.json").read_text("utf-8"))
    asked = {
        name
        for panel in dashboard["panels"]
        for each in panel["targets"]
        for name in re.findall(r"groundswell_\w+", each["expr"])
    }
    assert asked <= known
    assert {f"{NAMESPACE}_{name}" for name in GAUGES} <= asked
    assert len(asked) >= 15


@pytest.mark.parametrize("name", ["app.Dockerfile", "flink.Dockerfile"])
def test_images_are_built_from_locks_and_run_without_root(name: str) -> None:
    lines = (ROOT / "infra" / name).read_text("utf-8").splitlines()
    assert any("--require-hashes" in line for line in lines)
    assert next(line for line in reversed(lines) if line.startswith("USER")) != "USER root"
    for line in lines:
        if line.startswith("COPY") and "--from" not in line:
            sources = line.split()[1:-1]
            assert all((ROOT / source).exists() for source in sources), line


def test_a_job_is_submitted_from_its_newest_complete_checkpoint(tmp_path: Path) -> None:
    import os

    for number, name in enumerate(["a/chk-1/_metadata", "b/chk-7/_metadata"]):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("", "utf-8")
        os.utime(tmp_path / name, (number + 1, number + 1))
    (tmp_path / "c" / "chk-9").mkdir(parents=True)  # cut short: no metadata
    newest = latest_checkpoint(tmp_path)
    assert newest == tmp_path / "b" / "chk-7"
    command = submission("http://flink-jobmanager:8081", "/data/job.json", newest)
    assert command[command.index("-m") + 1] == "flink-jobmanager:8081"
    assert command[command.index("-s") + 1] == newest.as_uri()
    assert "-s" not in submission("http://flink-jobmanager:8081", "/data/job.json", latest_checkpoint(tmp_path / "none"))


def test_what_lasts_is_started_again_after_a_restart_of_the_machine() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name


def test_the_trends_service_stays_while_its_job_goes_on_and_ends_when_it_is_gone(tmp_path: Path) -> None:
    """Docker starts it again then, and it submits the job: a job manager that was started anew knows none."""
    (tmp_path / "job.json").write_text(json.dumps({"scored": "groundswell.scored"}), "utf-8")
    answers = cluster_of(a="RUNNING")
    with answering(answers) as url, ThreadPoolExecutor(1) as docker:
        assert main(["--job", url, str(tmp_path / "job.json")]) == 0
        watching = docker.submit(watch, url, JOB_NAME, 0.01)
        with pytest.raises(TimeoutError):
            watching.result(timeout=0.2)
        answers["/jobs/overview"] = {"jobs": []}
        assert watching.result(timeout=10) is None
        assert main(["--job", url, str(tmp_path / "job.json")]) == 1
    with pytest.raises(URLError):
        watch(url, JOB_NAME)


def test_the_jobs_name_is_the_one_that_flink_shows() -> None:
    from pipeline.jobs.trends_settings import describe

    job = describe(Settings())
    assert job_name(json.loads(job.model_dump_json())) == job.name


@pytest.mark.parametrize("name", ["app.Dockerfile", "flink.Dockerfile"])
def test_the_builder_gets_what_is_copied(name: str) -> None:
    ignored, *lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    text = (ROOT / "infra" / name).read_text("utf-8").replace("\\\n", " ")
    copied = [source for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for source in line.split()[:-1]]
    assert ignored == "*"
    assert copied
    assert {source.split("/")[0] for source in copied} <= sent
    assert all((ROOT / source).exists() for source in copied)


def test_the_image_is_built_by_the_locked_builder_alone() -> None:
    built = (ROOT / "infra" / "app.Dockerfile").read_text("utf-8")
    assert "--no-deps --no-build-isolation ." in built
    assert "hatchling==" in (ROOT / "infra" / "locks" / "app.txt").read_text("utf-8")
