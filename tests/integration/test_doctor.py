"""`doctor` with faults planted in real servers and files; each must be found, with a command that mends it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
import typer
from typer.testing import CliRunner

from infra.check_servers import check_flink, check_kafka, check_redis
from infra.findings import Check, Finding, examine
from infra.flink_cluster import FlinkCluster
from infra.ports import free_port
from infra.processes import running
from infra.provision import expected_topics
from infra.redis_server import RedisServer
from infra.runtime import redis_binary
from pipeline.adapters.kafka_admin import KafkaAdmin
from pipeline.adapters.redis_admin import facts
from pipeline.commands import doctor
from pipeline.settings import EncoderSettings, Endpoint, KafkaSettings, NotifySettings

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis whose settings these tests may spoil."""
    folder = tmp_path_factory.mktemp("own-redis")
    server = RedisServer(folder, redis_binary(), free_port())
    server.prepare()
    with running(server, str(folder)):
        yield server


def _spoiled(server: RedisServer, name: str, value: str) -> list[Finding]:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        before = client.config_get(name)[name]
        client.config_set(name, value)
        try:
            return list(check_redis(facts(server.url)))
        finally:
            client.config_set(name, before)


def test_the_stacks_own_redis_is_sound(redis_url: str) -> None:
    assert list(check_redis(facts(redis_url))) == []


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("maxmemory-policy", "allkeys-lru", "redis-eviction"),
        ("appendonly", "no", "redis-persistence"),
        ("maxmemory", "100000", "redis-memory"),
    ],
)
def test_a_redis_that_could_lose_profiles(own_redis: RedisServer, name: str, value: str, check: str) -> None:
    (found,) = _spoiled(own_redis, name, value)
    assert found.check == check
    assert f"CONFIG SET {name}" in found.fix


def test_a_redis_without_functions(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, redis_binary(), free_port())
    server.prepare()
    config = tmp_path / "redis.conf"
    config.write_text(f'{config.read_text("utf-8")}rename-command FCALL ""\n', "utf-8")
    with running(server, str(tmp_path)):
        (found,) = check_redis(facts(server.url))
    assert "FCALL" in found.message


def test_servers_that_are_away(unused_port: int) -> None:
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{unused_port}")
    checks = [
        Check("kafka", lambda: check_kafka(kafka)),
        Check("redis", lambda: doctor.check_redis_at(f"redis://127.0.0.1:{unused_port}/0")),
        Check("flink", lambda: check_flink(f"http://127.0.0.1:{unused_port}")),
    ]
    found = examine(checks)
    assert [(each.check, each.fix) for (each,) in found.values()] == [
        ("kafka", "groundswell up"),
        ("redis", "groundswell up"),
        ("flink", "groundswell up"),
    ]


def test_topics_that_are_missing_or_differ(kafka_bootstrap: str, topic_prefix: str) -> None:
    settings = KafkaSettings(bootstrap=kafka_bootstrap, topic_prefix=topic_prefix)
    expected = expected_topics(topic_prefix, 1)
    assert {each.fix for each in check_kafka(settings)} == {"groundswell provision"}
    with KafkaAdmin(settings) as admin:
        admin.create([replace(expected[0], partitions=expected[0].partitions + 1), *expected[1:]])
    (found,) = check_kafka(settings)
    assert f"partitions is {expected[0].partitions + 1}" in found.message


def test_a_model_that_is_missing_or_truncated(tmp_path: Path) -> None:
    (missing,) = doctor.check_model(EncoderSettings(), tmp_path)
    assert "groundswell model fetch" in missing.fix
    folder = tmp_path / "models" / EncoderSettings().model.replace("/", "--")
    folder.mkdir(parents=True)
    sound = {"config.json": "{}", "tokenizer.json": "{}", "model.safetensors": "weights"}
    for name, text in sound.items():
        (folder / name).write_text(text, "utf-8")
    from pipeline.adapters.files import sha256_of

    manifest = {"name": "m", "origin": "test", "files": {name: sha256_of(folder / name) for name in sound}}
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    assert list(doctor.check_model(EncoderSettings(), tmp_path)) == []
    (folder / "model.safetensors").write_text("weigh", "utf-8")
    (altered,) = doctor.check_model(EncoderSettings(), tmp_path)
    assert "model.safetensors was altered" in altered.message
    shutil.rmtree(folder)


def test_a_gpu_that_is_not_there() -> None:
    (found,) = doctor.check_gpu(EncoderSettings(device="cuda:63"))
    assert "cuda:63 is asked for" in found.message
    assert list(doctor.check_gpu(EncoderSettings(device="cpu"))) == []


def test_a_webhook_secret_that_is_malformed() -> None:
    endpoint = Endpoint(url="https://example.org/hook", secrets=("whsec_%%%",))
    (found,) = doctor.check_webhooks(NotifySettings(endpoints=(endpoint,)))
    assert "secret" in found.message
    assert "GROUNDSWELL_NOTIFY__ENDPOINTS" in found.fix


@pytest.mark.flink
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_flink_where_no_job_runs(flink: FlinkCluster) -> None:
    found = list(check_flink(flink.rest_url))
    assert found[-1].fix == "groundswell up"
    assert "no trends and no alerts" in found[-1].message


def test_the_verb_prints_every_finding_and_fails(
    kafka_bootstrap: str, redis_url: str, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROUNDSWELL_KAFKA__BOOTSTRAP", kafka_bootstrap)
    monkeypatch.setenv("GROUNDSWELL_KAFKA__TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("GROUNDSWELL_REDIS__URL", redis_url)
    monkeypatch.setenv("GROUNDSWELL_CACHE", str(tmp_path))
    monkeypatch.setenv("GROUNDSWELL_TYPO", "1")
    app = typer.Typer()
    doctor.register(app)
    arguments = ["--home", str(tmp_path / "home")]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert report["ok"] is False
    assert {"environment", "model", "topics"} <= {each["check"] for each in report["findings"]}
    assert all(each["fix"] for each in report["findings"])
    shown = CliRunner().invoke(app, arguments)
    assert "groundswell model fetch" in shown.stdout
