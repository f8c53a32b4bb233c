"""`groundswell user` on a real Redis."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.adapters.redis_store import RedisProfileStore, connect
from pipeline.adapters.stores import Applied, ProfileSpec, Update
from pipeline.adapters.streams import TopicPartition
from pipeline.core.rolling import ProfileEvent
from workers.encoder import DIMENSIONS
from workers.fake_encoder import FakeEncoder

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

DAY_MS = 86_400_000
START = 1_400_000_000_000
SPEC = ProfileSpec("fake-1", DIMENSIONS, (7 * DAY_MS, 90 * DAY_MS))
USER = "ü ser:[/1]"


@pytest.fixture
def environment(redis_url: str, key_prefix: str, tmp_path: Path) -> dict[str, str]:
    return dict(os.environ) | {
        "GROUNDSWELL_HOME": str(tmp_path),
        "GROUNDSWELL_REDIS__URL": redis_url,
        "GROUNDSWELL_REDIS__KEY_PREFIX": key_prefix,
        "COLUMNS": "160",
    }


@pytest.fixture
def store(redis_url: str, key_prefix: str) -> RedisProfileStore:
    return RedisProfileStore(connect(redis_url), key_prefix)


def updates() -> list[Update]:
    encoder = FakeEncoder()
    vectors = encoder.encode(encoder.tokenize(["running shoes", "running socks", "tea"])).vectors
    events = [
        ProfileEvent(f"e{n}", START + n * DAY_MS, "view", 1.0 + n, vectors[n], f"i{n}", f"item [bold]{n}") for n in range(3)
    ]
    return [Update(USER, TopicPartition("events", 0), n, event) for n, event in enumerate(events)]


def groundswell(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", "user", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_get_shows_norm_mass_recent_items_and_half_lives(environment: dict[str, str], store: RedisProfileStore) -> None:
    store.apply(updates(), SPEC)
    shown = json.loads(groundswell(environment, "get", USER, "--json").stdout)
    assert (shown["user_id"], shown["events"], shown["last_event_ms"]) == (USER, 3, START + 2 * DAY_MS)
    assert shown["model_revision"] == "fake-1"
    assert shown["vector_norm"] == pytest.approx(1.0, abs=1e-6)
    assert [one["days"] for one in shown["half_lives"]] == [7.0, 90.0]
    expected = sum((1 + n) * 0.5 ** ((2 - n) / 7) for n in range(3))
    assert shown["half_lives"][0]["mass"] == pytest.approx(expected, abs=1e-4)
    assert 0 < shown["half_lives"][0]["norm"] < shown["half_lives"][0]["mass"]
    assert [item["item_id"] for item in shown["recent"]] == ["i2", "i1", "i0"]
    for_people = groundswell(environment, "get", USER).stdout
    assert all(part in for_people for part in (USER, "7 d", "90 d", "item [bold]2", "2014-05-15"))


def test_forget_removes_the_user_and_a_replay_does_not_bring_it_back(
    environment: dict[str, str], store: RedisProfileStore
) -> None:
    store.apply(updates(), SPEC)
    assert json.loads(groundswell(environment, "forget", USER, "--json").stdout) == {"user_id": USER, "existed": True}
    assert store.apply(updates(), SPEC) == Applied(forgotten=3)
    missing = groundswell(environment, "get", USER)
    assert missing.returncode == 1
    assert "has no profile" in missing.stderr
    assert "had no profile" in groundswell(environment, "forget", USER).stdout


def test_a_redis_that_is_away_is_named(environment: dict[str, str], unused_port: int) -> None:
    away = environment | {"GROUNDSWELL_REDIS__URL": f"redis://127.0.0.1:{unused_port}/0"}
    ended = groundswell(away, "get", "u")
    assert ended.returncode == 1
    assert "Redis does not answer" in ended.stderr


def test_a_redis_that_refuses_is_one_line_that_says_what_to_set(environment: dict[str, str], redis_url: str) -> None:
    client = connect(redis_url)
    client.acl_setuser("reader", enabled=True, passwords=["+word"], keys=["*"], commands=["+hget"])
    address = redis_url.removeprefix("redis://").rpartition("/")[0]
    for url in (f"redis://reader:word@{address}/0", f"redis://{address}/99"):
        refused = groundswell(environment | {"GROUNDSWELL_REDIS__URL": url}, "get", "x")
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
        assert "GROUNDSWELL_REDIS__URL" in refused.stderr
    client.acl_deluser("reader")
    client.close()
