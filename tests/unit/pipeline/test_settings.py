import json
from pathlib import Path

import pytest

from pipeline import settings
from pipeline.errors import ConfigurationError


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GROUNDSWELL_HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def write_stack(home: Path, bootstrap: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "stack.json").write_text(json.dumps({"settings": {"kafka": {"bootstrap": bootstrap}}}), "utf-8")


def test_the_running_stack_gives_the_endpoints(tmp_path: Path) -> None:
    write_stack(tmp_path, "127.0.0.1:4001")
    assert settings.load(tmp_path).kafka.bootstrap == "127.0.0.1:4001"


def test_the_environment_wins_over_the_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_stack(tmp_path, "127.0.0.1:4001")
    monkeypatch.setenv("GROUNDSWELL_KAFKA__BOOTSTRAP", "broker:9092")
    loaded = settings.load(tmp_path)
    assert loaded.kafka.bootstrap == "broker:9092"
    assert loaded.kafka.topic_prefix == "groundswell."


def test_the_last_started_stack_is_found_without_options(tmp_path: Path) -> None:
    write_stack(tmp_path / "here", "127.0.0.1:4002")
    pointer = settings.current_home_file()
    pointer.parent.mkdir(parents=True)
    pointer.write_text(str(tmp_path / "here"), "utf-8")
    assert settings.load().kafka.bootstrap == "127.0.0.1:4002"


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("GROUNDSWELL_KAFKA__BOOTSTRAPS", "x", "GROUNDSWELL_KAFKA__BOOTSTRAPS: is no setting; .* unset GROUNDSWELL_KAFKA__BOOT"),
        ("GROUNDSWELL_STACK__REDIS_PORT", "high", "GROUNDSWELL_STACK__REDIS_PORT: Input should be a valid integer"),
        ("GROUNDSWELL_STACK__KAFKA_PORT", "70000", "GROUNDSWELL_STACK__KAFKA_PORT: Input should be less than or equal to 65535"),
        (
            "GROUNDSWELL_TRENDS__ALLOWED_LATENESS_MS",
            "-5",
            "TRENDS__ALLOWED_LATENESS_MS: Input should be greater than or equal to 0",
        ),
        ("GROUNDSWELL_STACK__KAFKA_HEAP", "1gb", "GROUNDSWELL_STACK__KAFKA_HEAP: String should match pattern"),
        (
            "GROUNDSWELL_KAFKA__TOPIC_PREFIX",
            "our own/",
            r"KAFKA__TOPIC_PREFIX: String should match pattern '\^\[a-zA-Z0-9\._-\]\*\$'",
        ),
        ("GROUNDSWELL_KAFKA__TOPIC_PREFIX", "x" * 201, "KAFKA__TOPIC_PREFIX: String should have at most 200 characters"),
        ("GROUNDSWELL_KAFKA__REPLICATION_FACTOR", "0", "KAFKA__REPLICATION_FACTOR: Input should be greater than or equal to 1"),
        ("GROUNDSWELL_TRENDS__PARALLELISM", "0", "TRENDS__PARALLELISM: Input should be greater than 0"),
        ("GROUNDSWELL_NOTIFY__ENDPOINTS", '[{"url": "http://x"}]', r"NOTIFY__ENDPOINTS \[0\] \[secrets\]: Field required"),
        ("GROUNDSWELL_NOTIFY__GROUP_BY", "hush", r'NOTIFY__GROUP_BY: Value error, write a JSON list, as in \["rule"\]'),
        ("GROUNDSWELL_NOTIFY__GROUP_BY", '["price"]', r"NOTIFY__GROUP_BY \[0\]: Input should be 'entity', 'rule' or 'severity'"),
        (
            "GROUNDSWELL_NOTIFY__ENDPOINTS",
            "hush",
            "^GROUNDSWELL_NOTIFY__ENDPOINTS: Expecting value.*written as JSON",
        ),
        ("GROUNDSWELL_PROFILES__HALF_LIFE_DAYS", "7,90", "^GROUNDSWELL_PROFILES__HALF_LIFE_DAYS: Extra data.* unset GROUND"),
        ("GROUNDSWELL_KAFKA", "hush", "^GROUNDSWELL_KAFKA: Expecting value"),
        ("GROUNDSWELL_PROFILES__IDLE_TTL_DAYS", "0", "IDLE_TTL_DAYS: Input should be greater than 0"),
        ("GROUNDSWELL_PROFILES__IDLE_TTL_DAYS", "40000", "IDLE_TTL_DAYS: Input should be less than or equal to 36500"),
        ("GROUNDSWELL_PROFILES__HALF_LIFE_DAYS", '["nan", 7]', r"HALF_LIFE_DAYS \[0\]: Input should be a finite number"),
        ("GROUNDSWELL_PROFILES__HALF_LIFE_DAYS", "[1e400, 7]", r"HALF_LIFE_DAYS \[0\]: Input should be a finite number"),
        ("GROUNDSWELL_PROFILES__HALF_LIFE_DAYS", "[7, -1]", r"HALF_LIFE_DAYS \[1\]: Input should be greater than 0"),
        ("GROUNDSWELL_NOTIFY__TIMEOUT_S", "inf", "TIMEOUT_S: Input should be a finite number"),
        ("GROUNDSWELL_NOTIFY__MARKET_HOLDS_S", "nan", "MARKET_HOLDS_S: Input should be a finite number"),
        ("GROUNDSWELL_NOTIFY__RETRY_SCHEDULE_S", "[5, NaN]", r"RETRY_SCHEDULE_S \[1\]: Input should be a finite number"),
        ("GROUNDSWELL_NOTIFY__RETRY_SCHEDULE_S", "[-4]", r"RETRY_SCHEDULE_S \[0\]: Input should be greater than or equal to 0"),
        ("GROUNDSWELL_NOTIFY__METRICS_PORT", "65536", "METRICS_PORT: Input should be less than or equal to 65535"),
        ("GROUNDSWELL_WORKER__METRICS_PORT", "-1", "METRICS_PORT: Input should be greater than or equal to 0"),
        ("GROUNDSWELL_TRENDS__METRICS_PORT", "99999", "METRICS_PORT: Input should be less than or equal to 65535"),
        ("GROUNDSWELL_WORKER__DRAIN_TIMEOUT_S", "nan", "DRAIN_TIMEOUT_S: Input should be a finite number"),
        ("GROUNDSWELL_WORKER__POLL_TIMEOUT_MS", "-5", "POLL_TIMEOUT_MS: Input should be greater than or equal to 0"),
        ("GROUNDSWELL_WORKER__STUCK_AFTER_S", "0", "STUCK_AFTER_S: Input should be greater than 0"),
        ("GROUNDSWELL_KAFKA__SESSION_TIMEOUT_MS", "0", "SESSION_TIMEOUT_MS: Input should be greater than 0"),
        ("GROUNDSWELL_KAFKA__STALL_TIMEOUT_S", "nan", "STALL_TIMEOUT_S: Input should be a finite number"),
        ("GROUNDSWELL_STACK__WORKERS", "-1", "STACK__WORKERS: Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_variable_is_named_and_its_value_is_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=told) as caught:
        settings.load(tmp_path)
    assert "hush" not in str(caught.value)


def test_several_wrong_variables_are_named_with_one_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GROUNDSWELL_STACK__REDIS_PORT", "high")
    monkeypatch.setenv("GROUNDSWELL_TRENDS__PARALLELISM", "0")
    with pytest.raises(ConfigurationError, match=r"PARALLELISM: .*STACK__REDIS_PORT: ") as caught:
        settings.load(tmp_path)
    assert caught.value.fix == "set it right, or: unset GROUNDSWELL_TRENDS__PARALLELISM GROUNDSWELL_STACK__REDIS_PORT"


def test_secrets_are_not_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GROUNDSWELL_KAFKA__SASL_PASSWORD", "hush")
    assert "hush" not in repr(settings.load(tmp_path))


@pytest.mark.parametrize("content", ["", "{brok", "[]", '{"settings": []}', "\xff"])
def test_a_broken_file_of_the_stack_is_named_with_the_fix(tmp_path: Path, content: str) -> None:
    (tmp_path / "stack.json").write_text(content, "latin-1")
    with pytest.raises(ConfigurationError, match=r"stack\.json (cannot be read|holds no) .*; mend or remove it"):
        settings.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"  \n", b"here", b"\xff\xfe"])
def test_a_pointer_that_names_no_folder_leads_nowhere_and_is_named(content: bytes) -> None:
    """An empty one, left by a full disk, would lead to whatever folder the command was given in."""
    pointer = settings.current_home_file()
    pointer.parent.mkdir(parents=True)
    pointer.write_bytes(content)
    with pytest.raises(ConfigurationError, match="groundswell/home (cannot be read|names no folder) .*; remove it, .*--home"):
        settings.load()
